"""Decoders: what the runtime writes is what a Python loop over the module in PyTorch writes."""

import numpy as np
import pytest
import torch
from torch import nn

import rnnedge
from rnnedge_runtime import Session

SYMBOLS, START, STOP, STEPS = 13, 2, 3, 12
BLANK, FEATURES = 0, 5


class Speller(nn.Module):
    """An embedding, layers over time, and a head."""

    def __init__(self, layer):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 6)
        self.layer = layer
        self.head = nn.Linear(8, SYMBOLS)

    def forward(self, symbol, state=None):
        output, state = self.layer(self.embedding(symbol), state)
        return self.head(output), state


class Attention(nn.Module):
    """A step that looks at a memory, and at where it looked before."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 6)
        self.query = nn.Linear(8, 5)
        self.cell = nn.LSTMCell(6 + 5, 8)
        self.head = nn.Linear(8 + 5, SYMBOLS)

    def forward(self, symbol, memory, ends, h, c, seen):
        energy = (memory * self.query(h)[:, None]).sum(-1) - 2 * seen
        places = torch.arange(memory.shape[1])
        weights = energy.masked_fill(places >= ends[:, None], -1e9).softmax(-1)
        context = (weights[..., None] * memory).sum(1)
        h, c = self.cell(torch.cat([self.embedding(symbol), context], -1), (h, c))
        return self.head(torch.cat([h, context], -1)), weights, h, c, seen + weights


def sharp(model, seed):
    """Return the module in float32 with weights that make its choices clear."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.9)
        model.head.bias[STOP] = 1.5
    return model.eval()


class Case:
    """A module, its file, and one step of it in PyTorch and float64."""

    def __init__(self, folder, name, quantize=None):
        self.file = folder / f"{name}-{quantize}.onnx"
        self.attends = name == "attention"
        symbols = torch.full((2, 3), START)
        if self.attends:
            self.model = sharp(Attention(), 5)
            example = (
                symbols[:, 0],
                torch.randn(2, 4, 5),
                torch.tensor([4, 3]),
                torch.zeros(2, 8),
                torch.zeros(2, 8),
                torch.zeros(2, 4),
            )
            axes = {spec: {0: "batch"} for spec in ("symbol", "memory", "ends", "h", "c", "seen")}
            axes["memory"][1] = axes["seen"][1] = "source"
            options = {
                "dynamic_axes": axes,
                "states": {"h_out": "h", "c_out": "c", "output_4": "seen"},
            }
        else:
            layers = {
                "gru": nn.GRU(6, 8, batch_first=True),
                "lstm": nn.LSTM(6, 8, num_layers=2, batch_first=True),
            }
            self.model, example, options = sharp(Speller(layers[name]), 7), (symbols,), {}
        rnnedge.export(self.model, self.file, example_inputs=example, quantize=quantize, **options)

    def start(self, batch, seed):
        """Return the initial state and the inputs of some rows."""
        random = np.random.default_rng(seed)

        def floats(*shape):
            return random.normal(size=shape).astype(np.float32)

        if self.attends:
            inputs = {
                "memory": floats(batch, 6, 5) * 2,
                "ends": random.integers(1, 7, batch),
            }
            return (floats(batch, 8), floats(batch, 8), np.zeros((batch, 6), np.float32)), inputs
        layers = 2 if isinstance(self.model.layer, nn.LSTM) else 1
        return tuple(floats(layers, batch, 8) for _ in range(layers)), {}

    def step(self, symbol, state, inputs):
        """Run one row: returns its logits [symbols] and the next state."""
        symbol = torch.tensor([symbol])
        with torch.no_grad():
            if self.attends:
                logits, _, *state = self.model(symbol, inputs["memory"], inputs["ends"], *state)
                return logits[0], tuple(state)
            nested = state[0] if len(state) == 1 else state
            logits, after = self.model(symbol[None], nested)
            return logits[0, 0], (after,) if len(state) == 1 else after

    def row(self, state, inputs, row):
        """Return the state and inputs of one row as tensors of float64."""
        axis = 0 if self.attends else 1
        rows = [torch.tensor(np.take(array, [row], axis)).double() for array in state]
        taken = {name: torch.tensor(array[[row]]) for name, array in inputs.items()}
        return tuple(rows), {
            name: value.double() if value.is_floating_point() else value
            for name, value in taken.items()
        }


def beam_in_pytorch(case, state, inputs, beam, length_penalty=0.0, prompt=(START,)):
    """Search one row: a list of (tokens, score, finished), the best first."""
    for symbol in prompt[:-1]:
        _, state = case.step(symbol, state, inputs)
    hypotheses = [([], 0.0, False, state)]
    for _ in range(STEPS):
        grown = []
        for tokens, score, finished, state in hypotheses:
            if finished:
                grown.append((tokens, score, True, state))
                continue
            logits, after = case.step(tokens[-1] if tokens else prompt[-1], state, inputs)
            for symbol, gain in enumerate(logits.log_softmax(-1).tolist()):
                grown.append(([*tokens, symbol], score + gain, symbol == STOP, after))
        grown.sort(key=lambda one: one[1] / len(one[0]) ** length_penalty, reverse=True)
        hypotheses = grown[:beam]
        if all(finished for _, _, finished, _ in hypotheses):
            break
    return [
        (tuple(tokens[:-1] if finished else tokens), score, finished)
        for tokens, score, finished, _ in hypotheses
    ]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoders")
    made = {name: Case(folder, name) for name in ("gru", "lstm", "attention")}
    made["gru-int8"] = Case(folder, "gru", quantize="int8")
    for case in made.values():
        case.model.double()
    return made


@pytest.mark.parametrize("engine", ["onnxruntime", "native"])
@pytest.mark.parametrize("name", ["gru", "lstm", "attention"])
@pytest.mark.parametrize(("beam", "length_penalty"), [(1, 0.0), (3, 0.0), (4, 0.7)])
def test_symbols_are_those_of_a_loop_over_pytorch(cases, name, engine, beam, length_penalty):
    case, batch = cases[name], 5
    state, inputs = case.start(batch, seed=1)
    session = Session(case.file, threads=1, engine=engine)
    decoded = session.decode(
        START, STOP, STEPS, inputs=inputs, state=state, beam=beam, length_penalty=length_penalty
    )
    ended = 0
    for row in range(batch):
        expected = beam_in_pytorch(case, *case.row(state, inputs, row), beam, length_penalty)
        found = decoded.hypotheses[row]
        assert [(one.tokens, one.finished) for one in found] == [
            (tokens, finished) for tokens, _, finished in expected
        ]
        np.testing.assert_allclose(
            [one.score for one in found], [score for _, score, _ in expected], rtol=1e-4
        )
        ended += sum(one.finished for one in found)
    assert ended > 0  # some rows stop by themselves


def test_int8_writes_what_its_own_file_says_step_by_step(cases):
    case = cases["gru-int8"]
    state, _ = case.start(4, seed=2)
    session = Session(case.file, threads=1)
    decoded = session.decode(START, STOP, STEPS, state=state)
    for row, tokens in enumerate(decoded.tokens):
        symbol, h, written = START, state[0][:, [row]], []
        for _ in range(STEPS):
            result = session.run(np.array([[symbol]]), state=(h,))
            symbol, (h,) = int(result.output.argmax()), result.state
            if symbol == STOP:
                break
            written.append(symbol)
        assert tokens == written


def test_a_prompt_is_read_before_the_first_symbol_is_chosen(cases):
    case = cases["lstm"]
    state, inputs = case.start(2, seed=3)
    prompts = [[START, 5, 7], [START, 1, 1]]
    decoded = Session(case.file, threads=1).decode(prompts, STOP, STEPS, state=state)
    for row, prompt in enumerate(prompts):
        expected = beam_in_pytorch(case, *case.row(state, inputs, row), 1, prompt=prompt)
        assert decoded.hypotheses[row][0].tokens == expected[0][0]


def test_a_state_with_the_axis_of_the_memory_starts_at_zeros(cases):
    case = cases["attention"]
    _, inputs = case.start(3, seed=4)
    session = Session(case.file, threads=1)
    zeros = (np.zeros((3, 8), np.float32),) * 2 + (np.zeros((3, 6), np.float32),)
    assert session.decode(START, STOP, STEPS, inputs=inputs) == session.decode(
        START, STOP, STEPS, inputs=inputs, state=zeros
    )


class Transducer(nn.Module):
    """A predictor over the symbols, and the joint network."""

    def __init__(self, cell):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 6)
        self.predictor = cell(6, 8, batch_first=True)
        self.joint = nn.Linear(FEATURES, 8)
        self.head = nn.Linear(8, SYMBOLS)

    def forward(self, frame, symbol, state=None):
        output, state = self.predictor(self.embedding(symbol), state)
        return self.head(torch.tanh(self.joint(frame) + output)), state


def transduced_in_pytorch(model, frames, max_symbols):
    """Return the symbols of one row, the frame of each, and their score."""
    written, places, score = [], [], 0.0
    symbol, state = BLANK, None
    with torch.no_grad():
        for at, frame in enumerate(frames):
            for _ in range(max_symbols):
                logits, after = model(frame[None, None], torch.tensor([[symbol]]), state)
                gains = logits[0, 0].log_softmax(-1)
                chosen = int(gains.argmax())
                score += float(gains[chosen])
                if chosen == BLANK:
                    break
                symbol, state = chosen, after
                written.append(chosen)
                places.append(at)
    return tuple(written), tuple(places), score


@pytest.fixture(scope="module", params=[nn.GRU, nn.LSTM], ids=["gru", "lstm"])
def transducer(request, tmp_path_factory):
    model = sharp(Transducer(request.param), 3)
    model.head.bias.data[[BLANK, STOP]] = torch.tensor([2.0, 0.0])
    path = tmp_path_factory.mktemp("transducer") / "model.onnx"
    example = (torch.zeros(2, 3, FEATURES), torch.zeros(2, 3, dtype=torch.long))
    rnnedge.export(model, path, example_inputs=example)
    return model.double(), path


@pytest.mark.parametrize("engine", ["onnxruntime", "native"])
@pytest.mark.parametrize("max_symbols", [1, 3])
def test_a_transducer_writes_what_a_loop_over_pytorch_writes(transducer, engine, max_symbols):
    model, path = transducer
    frames = np.random.default_rng(0).normal(size=(4, 9, FEATURES)).astype(np.float32) * 2
    lengths = [9, 0, 4, 7]
    session = Session(path, threads=1, engine=engine)
    decoded = session.transduce(frames, BLANK, max_symbols, lengths=lengths)
    for row, (length, (found,)) in enumerate(zip(lengths, decoded.hypotheses, strict=True)):
        rows = torch.tensor(frames[row, :length]).double()
        tokens, places, score = transduced_in_pytorch(model, rows, max_symbols)
        assert (found.tokens, found.frames) == (tokens, places)
        np.testing.assert_allclose(found.score, score, rtol=1e-4)
    written = sum(map(len, decoded.tokens))
    assert 5 < written < sum(lengths) * max_symbols  # neither blanks alone nor none
