"""Where the numbers of a run go beside its log.jsonl: one file for each tool, behind one small interface."""
