"""The diagrams say what they show, and refuse what they cannot show."""

import io
import re

import pytest
from matplotlib.figure import Figure

from rdistill_course import course_map, joint_space_diagram, ledger_diagram, mixture_diagram, protocol_diagram
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.ranks import remove_ignored
from rdistill_helpers.score.report import PROTOCOLS


def drawn(fig: Figure) -> str:
    """Draws the figure, which must not fail, and gives its description."""
    assert isinstance(fig, Figure)
    fig.savefig(io.BytesIO(), format="png", dpi=40)
    return fig.get_label()


def test_diagrams_describe_themselves():
    assert "gradient trains the student" in drawn(course_map())
    assert "free; if not, the teacher is asked" in drawn(ledger_diagram())
    # Half way between two arrows at a right angle, the chord is as far from the centre as the root of one half.
    assert "with length 0.71" in drawn(mixture_diagram(0.5, 90))
    assert "the same lambda, 0.3, in the other" in drawn(joint_space_diagram(0.3))


def test_the_protocol_diagram_counts_the_ranks_that_the_score_counts():
    kinds = {"E": "easy", "H": "hard", "J": "junk"}
    ranked = "EJ-HE-JH--E-"
    said = drawn(protocol_diagram(ranked))
    for protocol, (positive, ignored) in PROTOCOLS.items():
        places = [
            [place for place, letter in enumerate(ranked) if kinds.get(letter) in parts]
            for parts in (positive, ignored)
        ]
        assert f"{protocol}: {', '.join(map(str, remove_ignored(*places)))}" in said
    assert "hard: none" in drawn(protocol_diagram("E-"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mixture_diagram(0.5, 180), "cannot be drawn"),
        (lambda: joint_space_diagram(1.5), "cannot be drawn"),
        (lambda: protocol_diagram("EX"), "the letters E, H, J and -"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(make, message):
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        make()
    assert str(caught.value).count(". ") == 0
