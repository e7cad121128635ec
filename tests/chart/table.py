"""Owns the table of values in the chart's README: every value, its default, and the comment over it.

    table.py CHART            fails when the README has another table, and shows the difference
    table.py CHART --write    puts it there
"""

import difflib
import json
import pathlib
import re
import sys

import yaml

BEGIN, END = "<!-- values: tests/chart/table.py -->", "<!-- end of values -->"
# Kubernetes' own objects are one value.
WHOLE = {"resources", "seccompProfile", "capabilities"}


def rows(text):
    """A row per value, in the order of the file."""
    values = yaml.safe_load(text)
    path, comment, whole, spoken = [], [], None, ""
    for line in [*text.splitlines(), "end:"]:
        said = re.match(r" *#(?!#) ?(.*)", line)
        found = re.match(r"( *)([A-Za-z]\w*):(.*)", line)
        if said:
            comment.append(said[1])
            continue
        if not found:
            comment = []
            continue
        depth = len(found[1]) // 2
        if whole is not None and depth > whole:
            comment = []
            continue
        whole = None
        path = [*path[:depth], found[2]]
        if line == "end:":
            return
        at = values
        for key in path:
            at = at[key]
        if isinstance(at, dict) and at and path[-1] not in WHOLE:
            comment = []
            continue
        if isinstance(at, (dict, list)):
            whole = depth
        # A comment may go on with an example, which stays in values.yaml.
        words = " ".join(comment).split(" An example:")[0]
        shown = json.dumps(at, ensure_ascii=False)
        yield f"| `{'.'.join(path)}` | `{shown}` | {words.replace('|', chr(92) + '|')} |"
        comment = []


def table(chart):
    text = (chart / "values.yaml").read_text()
    return "\n".join([BEGIN, "", "| value | default | |", "|---|---|---|", *rows(text), "", END])


def main():
    chart = pathlib.Path(sys.argv[1])
    readme = chart / "README.md"
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{readme} has no place for the table ({BEGIN} ... {END})")
    before, rest = text.split(BEGIN, 1)
    new = before + table(chart) + rest.split(END, 1)[1]
    if "--write" in sys.argv:
        readme.write_text(new)
        return
    difference = difflib.unified_diff(text.splitlines(), new.splitlines(), "README.md", "values.yaml", lineterm="", n=0)
    difference = "\n".join(difference)
    if difference:
        sys.exit(f"{difference}\nrun: tests/chart/table.py {chart} --write")


if __name__ == "__main__":
    main()
