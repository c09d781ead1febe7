"""American spelling everywhere, and no retired words in the package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE_FILES = sorted((ROOT / "sktreevae").rglob("*.py"))
FILES = [
    *PACKAGE_FILES,
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.rst")),
    *sorted(path for path in (ROOT / "examples").glob("*.*") if path.is_file()),
]

# Stems of verbs in -ize. Only some endings are British: "optimistic", "generalist"
# and "emphasis" pass.
STEMS = (
    "binar categor central character custom discret emphas equal factor final general "
    "harmon initial local marginal material maxim memor minim normal optim organ "
    "parallel parameter penal priorit quant random real recogn regular serial special "
    "stabil standard summar symbol symmetr synchron synthes token util vector visual"
).split()

BRITISH = re.compile(
    rf"(?:{'|'.join(STEMS)})is(?:e|ing|ation|able)"
    r"|analys(?:e[dr]?(?![a-z])|ing)"
    r"|(?:behavi|col|fav|flav|hon|lab|neighb|rig|rum|vap)our"
    r"|(?:cancel|channel|label|level|model|signal|total|travel)l(?:ed|er|ing)"
    r"|(?:cent|fib|lit|met|theat)re[ds]?(?![a-z])|centring"
    r"|grey"
    r"|amongst|artefact|defence|learnt|licence|offence|whilst",
    re.IGNORECASE,
)


# Names of classes are retired with their capitals: "gradient descent" and "slots" pass.
def occurrences(pattern, text):
    """Return the line number and the text of each match."""
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for match in pattern.finditer(text)
    ]


def files(paths):
    return pytest.mark.parametrize(
        "path", paths, ids=lambda path: str(path.relative_to(ROOT))
    )


@files(FILES)
def test_spelling_is_american(path):
    assert not occurrences(BRITISH, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    ["standardise", "Normalisation", "optimiser_", "generalising", "x_colour", "greys"]
    + ["centres", "centred", "NEIGHBOURS", "behaviour", "labelled", "modelling"],
)
def test_british_spelling_is_recognized(text):
    assert BRITISH.search(text)


def test_american_words_and_lookalikes_pass():
    text = """optimistic optimize precise otherwise noise likewise exercise raise
    characteristic generalist emphasis analyses center centered parameters metric fibers
    colors grays four hours labeled model_label cancellation tree retrieve"""
    assert not occurrences(BRITISH, text)
