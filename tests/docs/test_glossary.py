import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| .* \| `(?P<file>[\w/]+\.py)`: (?P<names>`.*`) \|$", re.MULTILINE)


def test_the_functions_that_labels_lead_to_are_there():
    rows = list(ROW.finditer((ROOT / "docs/glossary.md").read_text("utf-8")))
    assert len(rows) > 10
    for row in rows:
        body = ast.parse((ROOT / "dskd_core" / row["file"]).read_text("utf-8")).body
        defined = {getattr(node, "name", "") for node in body}
        for node in body:
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                defined.add(f"{node.name}.{getattr(inner, 'name', '')}")
        names = set(re.findall(r"`([\w.]+)`", row["names"]))
        assert names <= defined, row["file"]
