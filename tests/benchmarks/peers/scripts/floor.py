"""Things that a sync cannot do without, or that it does without:  floor.py WHAT TREE"""

import os
import sys

what, tree = sys.argv[1:]
if what == "walk":
    seen = 0
    folders = [tree]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != ".git":
                        folders.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    seen += 1
elif what == "hash":
    import hashlib

    for folder, names, files in os.walk(tree):
        names[:] = [name for name in names if name != ".git"]
        for file in files:
            with open(os.path.join(folder, file), "rb") as stream:
                hashlib.sha256(stream.read()).digest()
elif what == "chromadb":
    import chromadb  # noqa: F401
