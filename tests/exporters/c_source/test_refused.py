"""What the C target refuses, and what it says then."""

import numpy as np
import pytest
import torch
from torch import nn

import rnnedge
from rnnedge.errors import ExportError, WriteError
from rnnedge_exporters.c_source.target import write_program
from rnnedge_exporters.c_source.text import prefix_of


def refused(write, match, module=None, error=ExportError, **options):
    with pytest.raises(error, match=match):
        write(module or nn.GRU(3, 4), **options)


def test_both_directions_have_no_steps(write):
    layer = nn.GRU(3, 4, bidirectional=True)
    refused(write, r"cannot run in steps: the layer is bidirectional: max_steps=N", layer)


def test_a_module_that_looks_ahead_has_no_steps(write):
    class Ahead(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 4, batch_first=True)

        def forward(self, x):
            return self.gru(x)[0].mean(1)

    inputs = (torch.randn(2, 5, 3),)
    refused(write, r"cannot run in steps: .*max_steps=N", Ahead(), example_inputs=inputs)
    assert write(Ahead(), example_inputs=inputs, max_steps=5).max_steps == 5


def test_states_that_are_no_inputs_cannot_be_kept(write):
    refused(write, "it has no states to keep between calls", states=False)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lengths": True}, "rows of a C program all have the same length"),
        ({"batch": 0}, "batch: expected an integer of 1 or more, got 0"),
        ({"max_steps": 1.5}, r"max_steps: expected an integer of 1 or more, got 1\.5"),
        ({"batch": 2**31}, "does not fit in 2,147,483,647 bytes: give a smaller batch"),
        (
            {"quantize": "int8", "lowering": "operator_int8"},
            "expected 'scan_int8', which quantize=",
        ),
        ({"quantize": "int8", "lowering": "scan_nbits"}, "expected 'scan_int8', which quantize="),
    ],
)
def test_options_that_do_not_fit(options, match, write):
    refused(write, match, **options)


def test_options_of_c_for_another_target(tmp_path):
    for options in ({"batch": 2}, {"max_steps": 3}):
        with pytest.raises(ExportError, match=r"requires target='c' and a folder to write"):
            rnnedge.export(nn.GRU(3, 4), tmp_path / "m.onnx", **options)


def test_an_operator_that_is_not_known_is_named(write):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 4, batch_first=True)

        def forward(self, x):
            return self.gru(x)[0].sin()

    refused(write, "the C target has no Sin", Sorted(), example_inputs=(torch.randn(2, 5, 3),))


def test_a_file_of_onnx_runtimes_own_lstm_of_integers(tmp_path):
    path = tmp_path / "int8.onnx"
    rnnedge.export(nn.LSTM(40, 40), path, quantize="int8:all", validate=False)
    with pytest.raises(
        ExportError, match=r"l0/\S+: .*takes its input in parts: export the layer with target='c'"
    ):
        write_program(path.read_bytes(), tmp_path / "kws")


def test_integers_that_are_rounded_over_a_whole_sequence(write, headed):
    options = {"example_inputs": (torch.randn(2, 5, 3),), "quantize": "int8:all"}
    refused(write, "over the range of all steps", headed(nn.Identity()), max_steps=4, **options)


def test_weights_that_c_has_no_literal_for(write):
    layer = nn.GRU(3, 4)
    layer.weight_hh_l0.data[0, 0] = np.inf
    refused(write, "NaN or infinity", layer)


def test_a_folder_with_something_else_stays(write, tmp_path):
    (tmp_path / "kws").mkdir()
    note = tmp_path / "kws" / "note.txt"
    note.write_text("mine")
    refused(write, "found note.txt in it: give another folder", error=WriteError, force=True)
    assert note.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["kws"]


def test_a_file_that_is_the_users_is_replaced_by_force_alone(write, tmp_path):
    (tmp_path / "kws").mkdir()
    own = tmp_path / "kws" / "kws.c"
    own.write_text("int mine;")
    refused(write, r"was not written by rnnedge: .*--force", error=WriteError)
    assert own.read_text() == "int mine;"
    write(nn.GRU(3, 4), force=True)
    assert "Made by rnnedge" in own.read_text()


def test_a_program_is_replaced_as_a_whole(write, tmp_path):
    first = write(nn.GRU(3, 4))
    (first.folder / "build").mkdir()
    second = write(nn.LSTM(3, 4))
    assert sorted(path.name for path in second.folder.iterdir()) == sorted(second.files)
    assert "lstm" in (second.folder / "kws.c").read_text()


def test_the_same_export_gives_the_same_bytes(write):
    layer = nn.GRU(3, 4)
    one, two = write(layer, folder="a/kws".partition("/")[0]), write(layer, folder="b")
    assert one.sizes == two.sizes
    texts = [(p.folder / f"{p.prefix}_weights.c").read_text() for p in (one, two)]
    assert texts[0].replace("a_", "_") == texts[1].replace("b_", "_")
    again = {name: (one.folder / name).read_bytes() for name in one.files}
    write(layer, folder="a")
    assert again == {name: (one.folder / name).read_bytes() for name in one.files}


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [
        ("kws", "kws"),
        ("my-model.v2", "my_model_v2"),
        ("2nd", "x_2nd"),
        ("double", "double_value"),
        ("string", "string_model"),
        ("größe", "gr_e"),
    ],
)
def test_names_start_with_that_of_the_folder(folder, prefix):
    assert prefix_of(folder) == prefix


def test_an_onnx_path_gets_the_model(tmp_path):
    result = rnnedge.export(nn.GRU(3, 4), tmp_path / "kws.onnx", target="c", validate=False)
    assert result.program is None
    assert result.contract.target == "c"
