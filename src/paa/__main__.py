"""`python -m paa` is `paa`."""

from paa.commands.main import program

if __name__ == "__main__":
    program()
