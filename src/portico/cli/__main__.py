"""`python -m portico.cli`."""

from portico.cli import main

if __name__ == "__main__":
    main()
