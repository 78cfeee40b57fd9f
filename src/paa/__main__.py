"""`python -m paa` is `paa`."""

from paa.cli import main

if __name__ == "__main__":
    main()
