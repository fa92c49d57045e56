"""The tree of errors: one parent of all, and the built-in that a caller would catch."""

import pytest

from rnnedge_runtime import errors
from rnnedge_runtime.errors import EngineError, MissingPackageError, RnnEdgeError, engine_errors

TREE = {
    "ModelError": ValueError,
    "ContractError": ValueError,
    "PlanError": ValueError,
    "NoMatchError": ValueError,
    "InputError": ValueError,
    "StateError": ValueError,
    "GoldenError": ValueError,
    "OptionError": ValueError,
    "DeviceError": RuntimeError,
    "StreamError": RuntimeError,
    "EngineError": RuntimeError,
    "DiedError": RuntimeError,
    "WriteError": OSError,
    "MissingPackageError": ImportError,
}


@pytest.mark.parametrize(("name", "builtin"), TREE.items(), ids=TREE)
def test_a_leaf_is_an_rnnedge_error_and_the_built_in(name, builtin):
    assert issubclass(getattr(errors, name), RnnEdgeError)
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize(("name", "builtin"), TREE.items(), ids=TREE)
def test_the_docstring_draws_it(name, builtin):
    inherited = RnnEdgeError not in getattr(errors, name).__bases__
    drawn = name if inherited else f"{name} ({builtin.__name__})"
    assert f"── {drawn} " in errors.__doc__


def test_no_leaf_is_missing_here():
    leaves = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, RnnEdgeError)
    }
    assert leaves == set(TREE) | {"RnnEdgeError"}


def test_a_damaged_contract_is_a_broken_model():
    assert issubclass(errors.ContractError, errors.ModelError)


def test_a_missing_package_names_user_package_and_command():
    error = MissingPackageError("Session", "onnxruntime", "pip install onnxruntime")
    message = "Session needs onnxruntime, which is not installed: pip install onnxruntime"
    assert str(error) == message


@pytest.mark.parametrize("raised", [ValueError("a\n  b"), RuntimeError("a b"), KeyError()])
def test_engine_errors_maps_whatever_is_raised(raised):
    with (
        pytest.raises(EngineError, match=r"^doing: (a b|KeyError)$") as caught,
        engine_errors("doing"),
    ):
        raise raised
    assert caught.value.__cause__ is raised


def test_engine_errors_lets_our_own_pass():
    with pytest.raises(errors.InputError, match=r"^mine$"), engine_errors("doing"):
        raise errors.InputError("mine")
