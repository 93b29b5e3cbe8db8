"""Settings: what a field knows is what is checked, recorded and compared."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import lexforge
from lexforge.models.cooccurrence.settings import CooccurrenceSettings
from lexforge.models.fasttext import FastTextClassifier
from lexforge.models.fasttext.classifier_settings import ClassifierSettings
from lexforge.models.fasttext.settings import FastTextSettings
from lexforge.models.glove.settings import GloVeSettings
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.training.settings import Settings, changes, knobs, setting


@dataclass(frozen=True)
class Paint(Settings):
    OWNER: ClassVar[str] = "Paint"

    coats: int = setting(2, "How many.", low=1, high=9, names="-- -c")
    layers: int | None = setting(None, "Or none.", low=0)
    gloss: float = setting(0.5, "Share.", low=0, high=1)
    thinner: float = setting(1.0, low=0, above=0)
    shift: float = setting(-1.5)
    colour: str = setting("red", "Which.", choices=("red", "blue"), names="--colour --color")
    dry: bool = setting(True, "1 or 0.")
    key: int = setting(1, low=-(2**63), high=2**64 - 1)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"coats": 0}, "Paint: coats must be 1 to 9, got 0"),
        ({"coats": 10}, "Paint: coats must be 1 to 9, got 10"),
        ({"layers": -1}, "Paint: layers must be >= 0, got -1"),
        ({"layers": 2**63}, f"Paint: layers must be <= {2**63 - 1}, got {2**63}"),
        ({"gloss": -0.1}, "Paint: gloss must be finite and >= 0, got -0.1"),
        ({"gloss": float("nan")}, "Paint: gloss must be finite and >= 0, got nan"),
        ({"gloss": 1.5}, "Paint: gloss must be 0 to 1, got 1.5"),
        ({"thinner": 0}, "Paint: thinner must be above 0, got 0"),
        ({"shift": float("inf")}, "Paint: shift must be finite, got inf"),
        ({"shift": 10**400}, "Paint: shift must be finite, got inf"),
        ({"colour": "pink"}, "Paint: colour must be one of red, blue, got 'pink'"),
        ({"key": 2**64}, f"Paint: key must be <= {2**64 - 1}, got {2**64}"),
    ],
)
def test_limits(given, message):
    with pytest.raises(ValueError) as error:
        Paint(**given)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "given, message",
    [
        ({"coats": 1.5}, "coats must be an integer, got 1.5"),
        ({"coats": None}, "coats must be an integer, got None"),
        ({"gloss": "much"}, "gloss must be a number, got 'much'"),
    ],
)
def test_kinds(given, message):
    with pytest.raises(TypeError, match=f"^Paint: {message}$"):
        Paint(**given)


def test_record_is_plain_and_comes_back():
    paint = Paint(coats=np.int64(3), gloss=np.float32(0.25), dry=0)
    record = paint.record()
    assert record == {
        "coats": 3, "layers": None, "gloss": 0.25, "thinner": 1.0, "shift": -1.5, "colour": "red",
        "dry": False, "key": 1,
    }  # fmt: skip
    kinds = [int, type(None), float, float, float, str, bool, int]
    assert [type(value) for value in record.values()] == kinds
    assert Paint.of({**record, "more": 1}) == paint
    with pytest.raises(KeyError, match="gloss"):
        Paint.of({name: value for name, value in record.items() if name != "gloss"})


def test_of_the_attributes_of_a_model():
    class Model:
        pass

    model = Model()
    vars(model).update(Paint().record(), coats=4, name="wall")
    assert Paint.of(model) == Paint(coats=4)
    model.coats = 0
    with pytest.raises(ValueError, match="coats must be 1 to 9"):
        Paint.of(model)


def test_refusal_names_all_changes():
    paint = Paint(coats=3)
    paint.refuse_changes({})
    paint.refuse_changes({"coats": 3, "gloss": 0.5})
    paint.refuse_changes({"coats": 4}, may_change=("coats",))
    with pytest.raises(ValueError) as error:
        paint.refuse_changes({"coats": 4, "gloss": 0.5, "colour": "blue"})
    assert str(error.value) == (
        "cannot resume with other settings: coats is 4, 3 in the run; "
        "colour is blue, red in the run"
    )
    assert changes({"steps": 5}, {"steps": 6}) == ["steps is 6, 5 in the run"]


def test_spellings():
    found = {name: knob.spellings for name, knob in knobs(Paint).items()}
    assert found["coats"] == ("--coats", "-c") and found["colour"] == ("--colour", "--color")
    assert (knobs(Paint)["layers"].kind, knobs(Paint)["layers"].optional) == (int, True)


@pytest.mark.parametrize(
    "function, settings",
    [
        (lexforge.Word2Vec, Word2VecSettings),
        (lexforge.FastText, FastTextSettings),
        (lexforge.GloVe, GloVeSettings),
        (lexforge.cooccurrence, CooccurrenceSettings),
        (FastTextClassifier, ClassifierSettings),
    ],
)
def test_every_setting_is_an_argument(function, settings):
    """By its name and with its default: the arguments of a call become the settings."""
    arguments = inspect.signature(function).parameters
    assert {name: knob.default for name, knob in knobs(settings).items()} == {
        name: arguments[name].default for name in knobs(settings)
    }
