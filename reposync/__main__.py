"""``python -m reposync``: the command, where its script is not on the path."""

from reposync.command import main

if __name__ == "__main__":
    main()
