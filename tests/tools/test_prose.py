"""The prose check: what the rules catch, what they leave alone, and what counts as a sentence."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"

# Sentences that a reader of chapters 1-5 stumbled over: a rule that each breaks, the sentence, a plainer form.
PAIRS = [
    (
        "R1",
        "What grows is only what the network cannot know from a few pictures and the CNN was born with: that "
        "a fox in the corner is the fox in the middle.",
        "More pictures teach the ViT one thing the CNN has built in: an object is the same wherever it stands.",
    ),
    (
        "R2",
        "Both are true, and both are a cage: far parts of a picture meet only many layers up, and a network "
        "for pictures looks like nothing else.",
        "Both hold, and both limit the network: distant regions interact only in deep layers, and vision "
        "needs an architecture of its own.",
    ),
    (
        "R2",
        "The comparison here keeps the rate fixed on purpose, to show how such a belief comes about, "
        "whichever of the two the rate happens to favour.",
        "We keep the learning rate fixed. At one rate, either option can look better by luck.",
    ),
    (
        "R4",
        "Before it, the head gets random weights for a moment: it starts at zero, and zero equals zero all too easily.",
        "We first give the head random weights. It starts at zero, and comparing zeros would prove nothing.",
    ),
    (
        "R3",
        "What the second can do and the first cannot is not a matter of architecture; the objective did not ask.",
        "Both runs use the same architecture. Only the training objective differs.",
    ),
    (
        "R4",
        "Our captions always name plate, place and background, and a prompt has to name some.",
        "Every training caption names a plate, a place and a background, so the prompt must name them too.",
    ),
    (
        "R3",
        "CLIP compares a picture and a sentence that have never met: each is summed up alone, and only two "
        "vectors touch.",
        "CLIP encodes image and sentence separately and compares only the two final vectors.",
    ),
    (
        "R4",
        '"top left the [MASK]" has an answer only for who looks at the top left.',
        'The model can fill in "top left the [MASK]" only by looking at the top left.',
    ),
    (
        "R4",
        "Random negatives almost never differ in that alone, and a hidden colour can often be read off "
        "without its noun.",
        "A random negative almost never differs only in which noun has which colour. And a masked colour can "
        "often be guessed without its noun.",
    ),
    (
        "R1",
        "(only so does ViLT itself come to the 87.4M printed there), yet neither this convention nor the "
        "literal count comes near.",
        "ViLT's own 87.4M matches only without text embeddings. Even so, our count is 15M too high.",
    ),
    (
        "R3",
        "In a fusion encoder words attend to what a picture's encoder hands over.",
        "In a fusion encoder, word tokens attend to image tokens.",
    ),
    (
        "R1",
        "Behind weights that drift by the same amount every update, it stays $m/(1-m)$ updates behind; and "
        "what merely trembles, it averages away.",
        "If a weight moves steadily, the EMA copy lags by $m/(1-m)$ updates. Random jitter averages out.",
    ),
    (
        "R3",
        "A map that finds *an* object, whichever noun asks, is right in one of two.",
        "A map that always lands on some object, ignoring the noun, is right half of the time.",
    ),
    (
        "R6",
        "Mind what else differs: hard negatives are found by contrast, so that the arm without it draws at random.",
        "Caution: hard negatives need the contrastive loss. The arm without it therefore uses random negatives.",
    ),
    (
        "R4",
        "An n-gram of the caption is *matched* as often as it occurs in the reference that has most of it",
        "An n-gram counts at most as often as it appears in any one reference.",
    ),
]


@pytest.fixture(scope="module")
def prose() -> Iterator[ModuleType]:
    sys.path.insert(0, str(TOOLS))
    yield importlib.import_module("prose")
    sys.path.remove(str(TOOLS))


def rules(prose: ModuleType, markdown: str) -> set[str]:
    return {finding.rule for finding in prose.check_markdown(markdown, "page.md")}


@pytest.mark.parametrize(("rule", "stumbling", "plain"), PAIRS)
def test_the_fifteen_sentences_fail_and_their_plainer_forms_pass(
    prose: ModuleType, rule: str, stumbling: str, plain: str
) -> None:
    assert rule in rules(prose, stumbling)
    assert not prose.check_markdown(plain, "page.md")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We follow sec. 3.2 and Fig. 7. The rest is ours.", 2),
        ("Some models, e.g. CLIP, have two towers, i.e. one each. Others have one.", 2),
        ("Radford et al. (2021) train on pairs. Li et al. The fusion comes last.", 3),
        ("R@1 rises from 0.5 to 0.75. It was 3.2 before.", 2),
        ('They ask "is it red?" and answer. "Yes." It is.', 3),
        ("J. Smith trained it. (Nobody else did.) It works!", 3),
        ("Labels, plates, etc. are words. So are places.", 2),
        ("*which word is hidden here?* and *do these belong together?* are the questions.", 1),
        ("그림과 문장을 함께 읽는다. 모델은 작다.", 2),
    ],
)
def test_sentences(prose: ModuleType, text: str, expected: int) -> None:
    assert len(prose.sentences(text)) == expected


def test_a_formula_a_code_span_a_number_and_a_link_are_one_word_each(prose: ModuleType) -> None:
    filler = " ".join(["word"] * 20)
    text = r"The $\sum_i a_i + b$ and `f(x, y, z)` and 86,567,656 and [the paper by all of them](https://a.b/c) "
    block = next(iter(prose.blocks(text + filler)))
    assert prose.words(block.text) == 1 + 7 + 20


def test_twenty_five_words_pass_and_twenty_six_do_not(prose: ModuleType) -> None:
    assert not rules(prose, " ".join(["red"] * 25) + ".")
    assert rules(prose, " ".join(["red"] * 26) + ".") == {"R2"}


def test_what_is_no_sentence_is_left_alone(prose: ModuleType) -> None:
    long = " ".join(["word"] * 40)
    markdown = f"""# {long}

```python
{long}
```

| {long} |
|---|
| {long} |

$$
{long}
$$

<!-- {long} -->

*Dosovitskiy et al., "{long}", 2020. [arXiv 2010.11929](https://arxiv.org/abs/2010.11929)*

**References**

- {long}
"""
    assert not rules(prose, markdown)


def test_each_item_of_a_list_and_each_definition_is_its_own(prose: ModuleType) -> None:
    items = "\n".join("- the model has ten words in this one short item" for _ in range(4))
    assert not rules(prose, f"Three things:\n\n{items}")
    assert rules(prose, "Term\n: " + " ".join(["word"] * 26)) == {"R2"}


def test_one_colon_or_semicolon_a_paragraph(prose: ModuleType) -> None:
    assert rules(prose, "One: a model. Two: another model.") == {"R2"}
    assert rules(prose, "It is small; it is fast; it is ours.") == {"R2"}
    assert not rules(prose, "At 12:30 the ratio is 3:1, see https://example.org/a:b. One thing: it works.")
    assert not rules(prose, "One: a model. The loss is:\n\n$$x$$")
    assert not rules(prose, "- **To read**: choose one; it opens.")


def test_hangul_is_not_measured_by_english_rules(prose: ModuleType) -> None:
    assert not rules(prose, " ".join(["그림을 보는 모델"] * 12) + "; 하나: 둘; 셋.")


@pytest.mark.parametrize(
    "text",
    [
        "A question asks for the colour.",
        "The model is asked which caption is true.",
        "You should have met PyTorch before.",
        "What does the model learn?",
        "In this chapter you build the model from the parts that we have, the towers and the head.",
        "The loss drops so that it reaches zero.",
        "That image has two objects.",
        "The words that a reader asks for are rare.",
        "Write one caption per class and ask which is closest.",
        "`ViT` in the same class (a download of about 350 MB, the first time), the larger one, is fine.",
        "If each pair agrees and is orthogonal to all others, the loss is small.",
    ],
)
def test_ordinary_sentences_pass(prose: ModuleType, text: str) -> None:
    assert not prose.check_markdown(text, "page.md")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("R3", "The towers meet only at the end."),
        ("R3", "The encoder wants more data."),
        ("R3", "The copy may know better."),
        ("R3", "CLIP is a network, who reads words."),
        ("R4", "CLIP has two towers and BERT one; the latter reads words."),
        ("R4", "This shows the effect."),
        ("R1", "In the small world of one or two objects on coloured plates, the model learns fast."),
    ],
)
def test_more_that_each_rule_catches(prose: ModuleType, rule: str, text: str) -> None:
    assert rule in rules(prose, text)


def test_an_exception_excuses_its_cell_or_the_next_paragraph_from_the_rules_it_names(prose: ModuleType) -> None:
    long, comment = " ".join(["word"] * 26) + ".", "<!-- prose: allow R2 -->"
    assert not prose.check_markdown(f"Short.\n\n{long}\n\n{comment}", "a.ipynb", cell="here")
    page = prose.check_markdown(f"{comment}\n\n{long}\n\n{long}", "a.md")
    assert [(f.rule, f.place) for f in page] == [("R2", "5")]
    assert rules(prose, f"{comment}\n\nThe model met them.") == {"R3"}


def test_the_command_names_file_cell_rule_sentence_and_remedy(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "id": "why", "source": ["The two towers\n", "never meet."]},
        {"cell_type": "code", "id": "run", "source": ["# the towers never meet\n"]},
    ]
    notebook = tmp_path / "week99.ipynb"
    notebook.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    done = subprocess.run([sys.executable, TOOLS / "prose.py", notebook], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].startswith(f"{notebook}:why: R3 'The two towers never meet.': ")
    assert all(":run:" not in line for line in lines)
