"""Links between the files of the repository."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def links(load_script):
    return load_script("tools/check_links.py")


def test_every_link_between_files_leads_somewhere(links):
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: which files belong to the repository is not known")
    pages = links.pages()
    assert ROOT / "README.md" in pages
    assert {str(path.relative_to(ROOT)): lost for path in pages if (lost := links.broken_links(path))} == {}


def test_lost_files_and_anchors_are_found_and_other_links_are_left_alone(links, tmp_path):
    (tmp_path / "b.md").write_text("# A heading, with `code`\n\n## Twice\n\n## Twice\n\n```\n# none\n```\n")
    page = tmp_path / "a.md"
    page.write_text(
        "# Here\n[ok](b.md) [ok](b.md#a-heading-with-code) [ok](b.md#twice-1) [ok](#here) [ok](https://example.org/x) "
        "[no](c.md) [no](b.md#none) [no](#there) `[code](d.md)`\n```\n[code](e.md)\n```\n"
    )
    assert links.broken_links(page) == ["c.md", "b.md#none", "#there"]
