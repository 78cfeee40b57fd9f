"""`python -m paa` is `paa`."""

from paa.commands.main import main

if __name__ == "__main__":
    main()
