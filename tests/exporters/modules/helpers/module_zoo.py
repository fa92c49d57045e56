"""Modules of the kinds that people deploy, each with example arguments."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_padded_sequence as pack
from torch.nn.utils.rnn import pad_packed_sequence as unpack

from rnnedge import Recurrent


class Tagger(nn.Module):
    """Embedding, bidirectional LSTM, a head over every step."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.rnn = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        output, _ = self.rnn(self.embed(tokens))
        return self.head(output)


class Forecaster(nn.Module):
    """Two layers, the last step picked out."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, num_layers=2, batch_first=True, dropout=0.3)
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(x)
        return self.head(output[:, -1])


class LastHidden(nn.Module):
    """A classifier over h_n of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 7, num_layers=2)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, h_n = self.rnn(x)
        return self.head(h_n[-1]).softmax(-1)


class Ctc(nn.Module):
    """Strided Conv1d, bidirectional LSTM, CTC head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.rnn = nn.LSTM(8, 6, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 9)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(features.transpose(1, 2)))).transpose(1, 2)
        return self.head(self.rnn(x)[0]).log_softmax(-1)


class PackedGru(nn.Module):
    """Packed bidirectional GRU; lengths in any order."""

    def __init__(self, total: bool = True) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 3)
        self.total = total

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack(x, lengths, batch_first=True, enforce_sorted=False)
        output, h_n = self.rnn(packed)
        total = x.size(1) if self.total else None
        padded, _ = unpack(output, batch_first=True, total_length=total)
        return self.head(padded), h_n


class PackedMean(nn.Module):
    """Packed LSTM with sorted lengths, a mean over the steps that each row has."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        output, lengths = unpack(self.rnn(pack(x, lengths))[0])
        inside = torch.arange(output.size(0)).unsqueeze(1) < lengths
        return (output * inside.unsqueeze(2)).sum(0) / lengths.unsqueeze(1)


class PackedDropout(nn.Module):
    """What is done to the data of a packed sequence between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(4, 5, batch_first=True)
        self.second = nn.GRU(5, 6, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed, _ = self.first(pack(x, lengths, batch_first=True, enforce_sorted=False))
        packed = packed._replace(data=torch.tanh(packed.data + 1))
        return unpack(self.second(packed)[0], batch_first=True, padding_value=-1.0)[0]


class Seq2Seq(nn.Module):
    """Encoder GRU, decoder GRU that starts at its h_n, dot-product attention."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(4, 6, batch_first=True)
        self.decoder = nn.GRU(3, 6, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        memory, h = self.encoder(source)
        query, _ = self.decoder(target, h)
        weights = (query @ memory.transpose(1, 2)).softmax(-1)
        return self.head(torch.cat([query, weights @ memory], -1)), weights


class SelfAttention(nn.Module):
    """Multi-head attention over the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(x)
        return self.attention(output, output, output, need_weights=False)[0]


class Pooled(nn.Module):
    """Mean and max over time, and a flipped second reading."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.RNN(4, 5, batch_first=True)
        self.right = nn.RNN(4, 5, batch_first=True, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.left(x)[0], self.right(x.flip(1))[0].flip(1)
        both = torch.cat([left, right], -1)
        return torch.cat([both.mean(1), both.max(1).values], -1)


class Residual(nn.Module):
    """A stack with residuals and layer norms."""

    def __init__(self) -> None:
        super().__init__()
        self.rnns = nn.ModuleList(nn.LSTM(6, 6) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for rnn, norm in zip(self.rnns, self.norms, strict=True):
            x = x + rnn(norm(x))[0]
        return x


class Shared(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.rnn(x)[0])[0]


class OwnState(nn.Module):
    """Takes and returns its state itself."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        output, (h, c) = self.rnn(x, state)
        return self.head(output), h, c


class ZerosInside(nn.Module):
    """Makes its own zeros, as tutorials do."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h_0 = torch.zeros(2, x.size(0), 6)
        c_0 = torch.zeros(2, x.size(0), 6)
        return self.rnn(x, (h_0, c_0))[0]


class KeepsState(nn.Module):
    """Keeps its state in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        output, self.hidden = self.rnn(x, self.hidden)
        return output


class WeightNorm(nn.Module):
    """Weight norm on a layer, spectral norm on the head."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6)
        parametrizations.weight_norm(self.rnn, "weight_hh_l0")
        self.head = parametrizations.spectral_norm(nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Half(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


class Parametrized(nn.Module):
    """`torch.nn.utils.parametrize` on a recurrent weight."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6)
        parametrize.register_parametrization(self.rnn, "weight_ih_l0", Half())

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Unbatched(nn.Module):
    """One sequence without a batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Rows(nn.Module):
    """An image read row by row, as a dictionary of results."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(8, 10, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, 10)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        output, h_n = self.rnn(image.squeeze(1))
        return {"scores": self.head(output[:, -1]), "hidden": h_n}


class Projected(nn.Module):
    """An LSTM with a projection, and states handed over in halves."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 8, proj_size=3, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        output, (h_n, _) = self.rnn(x)
        forward, backward = output.chunk(2, -1)
        return forward * backward + torch.cat([h_n[0], h_n[1]], -1)[..., :3]


class TwoSpeeds(nn.Module):
    """Pairs of steps joined between two layers; an even number of steps only."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = nn.GRU(3, 4, batch_first=True)
        self.slow = nn.GRU(8, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.fast(x)
        batch, time, width = y.shape
        return self.slow(y.reshape(batch, time // 2, 2 * width))[0]


class Policy(nn.Module):
    """A recurrent actor-critic: one step, its state an argument, reset where an episode ended."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.cell = nn.LSTMCell(8, 8)
        self.actor, self.critic = nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(
        self, obs: Tensor, h: Tensor, c: Tensor, done: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        keep = (~done).float().unsqueeze(1)
        h_out, c_out = self.cell(torch.tanh(self.body(obs)), (h * keep, c * keep))
        return self.actor(h_out), self.critic(h_out), h_out, c_out


class Peephole(nn.Module):
    """A cell of the user's own: an LSTM with peepholes and a norm on its memory."""

    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.gates = nn.Linear(features + hidden_size, 4 * hidden_size)
        self.peep = nn.Parameter(torch.randn(3, hidden_size) / 4)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i, f, g, o = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f + self.peep[1] * c) * c + torch.sigmoid(
            i + self.peep[0] * c
        ) * torch.tanh(g)
        h = torch.sigmoid(o + self.peep[2] * c) * torch.tanh(self.norm(c))
        return h, h, c


class OwnCell(nn.Module):
    """`Recurrent` inside a module."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = Recurrent(Peephole(4, 6), batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Crnn(nn.Module):
    """Text recognition: a 2-d convolution whose columns are the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)))
        self.rnn = nn.LSTM(32, 7, bidirectional=True)
        self.head = nn.Linear(14, 5)

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv(image)
        batch, channels, height, width = features.size()
        steps = features.permute(3, 0, 1, 2).reshape(width, batch, channels * height)
        return self.head(self.rnn(steps)[0])


class AttentionStep(nn.Module):
    """One step of a decoder with additive attention, its hidden state an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.score = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.rnn = nn.GRU(10, 6, batch_first=True)
        self.head = nn.Linear(6, 9)

    def forward(self, memory: Tensor, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        query = self.query(hidden[-1]).unsqueeze(1)
        weights = self.score(torch.tanh(query + self.key(memory))).squeeze(-1).softmax(-1)
        context = torch.bmm(weights.unsqueeze(1), memory)
        output, hidden_out = self.rnn(torch.cat([token.unsqueeze(1), context], -1), hidden)
        return self.head(output.squeeze(1)), hidden_out


class Hierarchy(nn.Module):
    """Words inside sentences: the batch of one layer is batch times time of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 6)
        self.words = nn.GRU(6, 5, batch_first=True, bidirectional=True)
        self.sentences = nn.GRU(10, 4, batch_first=True)

    def forward(self, document: Tensor) -> Tensor:
        batch, sentences, words = document.shape
        _, h = self.words(self.embed(document.view(batch * sentences, words)))
        _, h = self.sentences(h.transpose(0, 1).reshape(batch, sentences, -1))
        return h.squeeze(0)


class Frames(nn.Module):
    """A convolution over every frame of a video."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.rnn = nn.GRU(4, 5, batch_first=True)

    def forward(self, video: Tensor) -> Tensor:
        batch, time = video.shape[:2]
        features = self.conv(video.flatten(0, 1)).mean((2, 3)).view(batch, time, -1)
        return self.rnn(features)[0]


class LearnedStart(nn.Module):
    """Starts from a learned state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)
        self.start = nn.Parameter(torch.randn(1, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x, self.start.expand(-1, x.size(1), -1).contiguous())[0]


class CausalPadded(nn.Module):
    """A keyword spotter: dilated convolution with zeros in front, batch norm, GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 3, dilation=2)
        self.norm = nn.BatchNorm1d(6)
        self.rnn = nn.GRU(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.conv(F.pad(x.transpose(1, 2), (4, 0)))))
        return self.rnn(features.transpose(1, 2))[0]


class CausalCut(nn.Module):
    """Two causal convolutions as temporal convolutional networks write them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 3, padding=2)
        self.second = nn.Conv1d(6, 6, 2, padding=1, groups=2)
        self.rnn = nn.LSTM(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x.transpose(1, 2))[:, :, :-2])
        y = y + self.second(y)[..., :-1]
        return self.rnn(y.transpose(1, 2))[0]


def x(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


TOKENS = torch.arange(14).reshape(2, 7)
LENGTHS = torch.tensor([7, 4, 2])
OFF = torch.zeros(2, dtype=torch.bool)

MODULES: dict[str, tuple[nn.Module, tuple[object, ...]]] = {}


def _fill() -> None:
    torch.manual_seed(0)
    MODULES.update(
        tagger=(Tagger(), (TOKENS,)),
        forecaster=(Forecaster(), (x(1, 9, 3),)),
        last_hidden=(LastHidden(), (x(9, 2, 4),)),
        ctc=(Ctc(), (x(2, 11, 6),)),
        packed=(PackedGru(), (x(3, 7, 4), LENGTHS)),
        packed_to_longest=(PackedGru(total=False), (x(3, 7, 4), LENGTHS)),
        packed_mean=(PackedMean(), (x(7, 3, 4), LENGTHS)),
        packed_data=(PackedDropout(), (x(3, 7, 4), LENGTHS)),
        seq2seq=(Seq2Seq(), (x(2, 7, 4), x(2, 5, 3))),
        self_attention=(SelfAttention(), (x(2, 7, 4),)),
        pooled=(Pooled(), (x(2, 7, 4),)),
        residual=(Residual(), (x(7, 2, 6),)),
        shared=(Shared(), (x(7, 2, 5),)),
        own_state=(OwnState(), (x(2, 7, 4), (x(1, 2, 6), x(1, 2, 6)))),
        zeros_inside=(ZerosInside(), (x(1, 7, 4),)),
        keeps_state=(KeepsState(), (x(7, 1, 4),)),
        weight_norm=(WeightNorm(), (x(7, 2, 4),)),
        parametrized=(Parametrized(), (x(7, 2, 4),)),
        unbatched=(Unbatched(), (x(7, 4),)),
        rows=(Rows(), (x(2, 1, 8, 8),)),
        projected=(Projected(), (x(7, 2, 5),)),
        two_speeds=(TwoSpeeds(), (x(2, 8, 3),)),
        policy=(Policy(), (x(2, 6), x(2, 8), x(2, 8), OFF)),
        own_cell=(OwnCell(), (x(2, 7, 4),)),
        crnn=(Crnn(), (x(2, 1, 16, 9),)),
        attention_step=(AttentionStep(), (x(2, 7, 6), x(2, 4), x(1, 2, 6))),
        hierarchy=(Hierarchy(), (torch.arange(30).reshape(2, 3, 5),)),
        frames=(Frames(), (x(2, 6, 3, 8, 8),)),
        causal_padded=(CausalPadded(), (x(2, 7, 4),)),
        causal_cut=(CausalCut(), (x(1, 7, 4),)),
        learned_start=(LearnedStart(), (x(7, 2, 4),)),
    )


_fill()
