"""paa data: check, convert, split and look at data sets, one file a sub-command."""
