"""Published recurrences as their authors' equations say, each a plain Python loop over time."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LiGRU(nn.Module):
    """Ravanelli et al., Light Gated Recurrent Units for Speech Recognition, 2018, eq. 10 to 12."""

    def __init__(self) -> None:
        super().__init__()
        self.wz, self.wh = nn.Linear(4, 6, bias=False), nn.Linear(4, 6, bias=False)
        self.uz, self.uh = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.norm_z, self.norm_h = nn.BatchNorm1d(6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        wz = self.norm_z(self.wz(x).reshape(batch * time, 6)).view(batch, time, 6)
        wh = self.norm_h(self.wh(x).reshape(batch * time, 6)).view(batch, time, 6)
        h, hidden = torch.zeros(batch, 6), []
        for k in range(time):
            z = torch.sigmoid(wz[:, k] + self.uz(h))
            h = z * h + (1 - z) * torch.relu(wh[:, k] + self.uh(h))
            hidden.append(h)
        return torch.stack(hidden, 1)


class LayerNormLSTM(nn.Module):
    """Ba, Kiros and Hinton, Layer Normalization, 2016, eq. 20 to 22."""

    def __init__(self, features: int = 4, hidden: int = 6) -> None:
        super().__init__()
        self.ih = nn.Linear(features, 4 * hidden, bias=False)
        self.hh = nn.Linear(hidden, 4 * hidden, bias=False)
        self.norm_i, self.norm_h = nn.LayerNorm(4 * hidden), nn.LayerNorm(4 * hidden)
        self.norm_c = nn.LayerNorm(hidden)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            h = c = x.new_zeros(x.shape[0], self.hh.in_features)
        else:
            h, c = state
        output = []
        for x_t in x.unbind(1):
            gates = self.norm_i(self.ih(x_t)) + self.norm_h(self.hh(h))
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
            output.append(h)
        return torch.stack(output, 1), (h, c)


class PeepholeLSTM(nn.Module):
    """Gers, Schraudolph and Schmidhuber, Learning Precise Timing with LSTM, 2002."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(4, 24), nn.Linear(6, 24, bias=False)
        self.peep = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        c = torch.zeros_like(h)
        output = torch.empty(x.size(0), x.size(1), 6)
        for t in range(x.size(1)):
            i, f, g, o = torch.split(self.x(x[:, t]) + self.h(h), 6, -1)
            i, f = torch.sigmoid(i + self.peep[0] * c), torch.sigmoid(f + self.peep[1] * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.peep[2] * c) * torch.tanh(c)
            output[:, t, :] = h
        return output


class HighwayLSTM(nn.Module):
    """Zhang et al., Highway Long Short-Term Memory RNNs, 2016: a gate past each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(4, 6), nn.LSTMCell(6, 6)])
        self.gate, self.skip = nn.Linear(12, 6), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        hs = [torch.zeros(x.size(0), 6) for _ in self.cells]
        cs = [torch.zeros(x.size(0), 6) for _ in self.cells]
        output = []
        for t in range(x.size(1)):
            y, low = x[:, t], self.skip(x[:, t])
            for layer, cell in enumerate(self.cells):
                hs[layer], cs[layer] = cell(y, (hs[layer], cs[layer]))
                gate = torch.sigmoid(self.gate(torch.cat([low, hs[layer]], -1)))
                y = low = gate * hs[layer] + (1 - gate) * low
            output.append(y)
        return torch.stack(output, dim=1)


class IndRNN(nn.Module):
    """Li et al., Independently Recurrent Neural Network, 2018, eq. 2; time comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(4, 6), nn.Parameter(torch.rand(6))

    def forward(self, x: Tensor) -> Tensor:
        h, output = torch.zeros(x.shape[1], 6), []
        for x_t in x:
            h = torch.relu(self.w(x_t) + self.u * h)
            output.append(h)
        return torch.stack(output)


class SRU(nn.Module):
    """Lei et al., Simple Recurrent Units for Highly Parallelizable Recurrence, 2018, eq. 1 to 4."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(6, 18, bias=False)
        self.v, self.b = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(2, 6))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        products, c, hidden = self.w(x), x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            u, f, r = products[:, t].chunk(3, -1)
            f = torch.sigmoid(f + self.v[0] * c + self.b[0])
            r = torch.sigmoid(r + self.v[1] * c + self.b[1])
            c = f * c + (1 - f) * u
            hidden.append(r * c + (1 - r) * x[:, t])
        return torch.stack(hidden, 1), c


class QRNN(nn.Module):
    """Bradbury et al., Quasi-Recurrent Neural Networks, 2017, eq. 1 and 4 (fo-pooling)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 18, 2)

    def forward(self, x: Tensor) -> Tensor:
        z, f, o = self.conv(F.pad(x.transpose(1, 2), (1, 0))).chunk(3, 1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        c, hidden = torch.zeros_like(z[:, :, 0]), []
        for t in range(z.size(2)):
            c = f[..., t] * c + (1 - f[..., t]) * z[..., t]
            hidden.append(o[..., t] * c)
        return torch.stack(hidden, -1)


class MinGRU(nn.Module):
    """Feng et al., Were RNNs All We Needed?, 2024, algorithm 1."""

    def __init__(self) -> None:
        super().__init__()
        self.z, self.h = nn.Linear(4, 6), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        z, new = torch.sigmoid(self.z(x)), self.h(x)
        new = torch.where(new >= 0, new + 0.5, torch.sigmoid(new))
        h, hidden = torch.zeros(x.size(0), 6), []
        for z_t, new_t in zip(z.unbind(1), new.unbind(1), strict=True):
            h = (1 - z_t) * h + z_t * new_t
            hidden.append(h)
        return torch.stack(hidden, 1)


class MinLSTM(nn.Module):
    """Feng et al., Were RNNs All We Needed?, 2024, algorithm 3."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(4, 18)

    def forward(self, x: Tensor) -> Tensor:
        h, output = torch.zeros(x.size(0), 6), torch.zeros(x.size(0), x.size(1), 6)
        for t in range(x.size(1)):
            f, i, new = self.w(x[:, t]).chunk(3, -1)
            f, i = torch.sigmoid(f), torch.sigmoid(i)
            h = f / (f + i) * h + i / (f + i) * new
            output[:, t] = h
        return output


class CfC(nn.Module):
    """Hasani et al., Closed-form Continuous-time Neural Networks, 2022, eq. 10."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.g, self.h = nn.Linear(10, 8), nn.Linear(8, 6), nn.Linear(8, 6)
        self.time_a, self.time_b = nn.Linear(8, 6), nn.Linear(8, 6)

    def forward(self, x: Tensor, timespans: Tensor) -> Tensor:
        state, output = torch.zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            z = self.backbone(torch.cat([x[:, t], state], 1))
            z = 1.7159 * torch.tanh(0.666 * z)
            gate = torch.sigmoid(self.time_a(z) * timespans[:, t] + self.time_b(z))
            state = torch.tanh(self.g(z)) * (1 - gate) + gate * torch.tanh(self.h(z))
            output.append(state)
        return torch.stack(output, 1)


class LTC(nn.Module):
    """Hasani et al., Liquid Time-constant Networks, 2021, eq. 3: a fused solver of three steps."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.r = nn.Linear(4, 6), nn.Linear(6, 6)
        self.a, self.tau = nn.Parameter(torch.randn(6)), nn.Parameter(torch.rand(6) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        h, output = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            for _ in range(3):
                f = torch.sigmoid(self.w(x[:, t]) + self.r(h))
                h = (h + 0.1 * f * self.a) / (1 + 0.1 * (1 / self.tau + f))
            output.append(h)
        return torch.stack(output, 1)


class SLSTM(nn.Module):
    """Beck et al., xLSTM: Extended Long Short-Term Memory, 2024, eq. 8 to 17."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.r = nn.Linear(4, 24), nn.Linear(6, 24, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        c, n, m = torch.zeros_like(h), torch.ones_like(h), torch.zeros_like(h)
        output = []
        for x_t in x.unbind(1):
            z, i, f, o = (self.w(x_t) + self.r(h)).chunk(4, -1)
            f = F.logsigmoid(f)
            largest = torch.maximum(f + m, i)
            i, f = torch.exp(i - largest), torch.exp(f + m - largest)
            c, n, m = f * c + i * torch.tanh(z), f * n + i, largest
            h = torch.sigmoid(o) * c / n
            output.append(h)
        return torch.stack(output, 1)


class CoupledLSTM(nn.Module):
    """Greff et al., LSTM: A Search Space Odyssey, 2017, the CIFG variant."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(10, 18)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.size(0), 6)
        output: list[Tensor] = []
        for t in range(x.size(1)):
            f, g, o = self.gates(torch.cat((x[:, t], h), 1)).chunk(3, 1)
            f = torch.sigmoid(f)
            c = f * c + (1 - f) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            output += [h]
        return torch.stack(output, 1)


class ConvLSTM(nn.Module):
    """Shi et al., Convolutional LSTM Network, 2015, eq. 3, without peepholes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 12, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _, height, width = x.size()
        h, c = torch.zeros(batch, 3, height, width), torch.zeros(batch, 3, height, width)
        output = []
        for t in range(time):
            i, f, o, g = torch.split(self.conv(torch.cat([x[:, t], h], 1)), 3, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            output.append(h)
        return torch.stack(output, 1), h


class ConvGRU(nn.Module):
    """Ballas et al., Delving Deeper into Convolutional Networks, 2016, eq. 5 to 8."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(5, 6, 3, padding=1)
        self.new = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h, output = x.new_zeros(x.size(0), 3, x.size(3), x.size(4)), []
        for t in range(x.size(1)):
            r, z = torch.sigmoid(self.gates(torch.cat([x[:, t], h], 1))).chunk(2, 1)
            n = torch.tanh(self.new(torch.cat([x[:, t], r * h], 1)))
            h = (1 - z) * h + z * n
            output.append(h)
        return torch.stack(output, 1)


class PhasedLSTM(nn.Module):
    """Neil, Pfeiffer and Liu, Phased LSTM, 2016, eq. 6 to 10, with a leak of 0.001."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, 6)
        self.tau, self.shift = nn.Parameter(torch.rand(6) * 3 + 1), nn.Parameter(torch.rand(6))

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), 6)
        output = []
        for t in range(x.size(1)):
            phase = torch.remainder(times[:, t, None] - self.shift, self.tau) / self.tau
            falling = torch.where(phase < 0.1, 2 - 20 * phase, 0.001 * phase)
            k = torch.where(phase < 0.05, 20 * phase, falling)
            h_t, c_t = self.cell(x[:, t], (h, c))
            h, c = k * h_t + (1 - k) * h, k * c_t + (1 - k) * c
            output.append(h)
        return torch.stack(output, 1)


class ClockworkRNN(nn.Module):
    """Koutnik et al., A Clockwork RNN, 2014, eq. 1: blocks that run at every 1, 2 or 4 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(4, 6), nn.Linear(6, 6, bias=False)
        self.register_buffer("period", torch.tensor([1, 1, 2, 2, 4, 4]))
        self.register_buffer("mask", torch.triu(torch.ones(6, 6)))

    def forward(self, x: Tensor) -> Tensor:
        h, output = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            new = torch.tanh(self.w(x[:, t]) + F.linear(h, self.u.weight * self.mask))
            h = torch.where(t % self.period == 0, new, h)
            output.append(h)
        return torch.stack(output, 1)


class BidirectionalLSTM(nn.Module):
    """Graves and Schmidhuber, Framewise Phoneme Classification with Bidirectional LSTM, 2005."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards, self.backwards = nn.LSTMCell(4, 6), nn.LSTMCell(4, 6)

    @staticmethod
    def run(cell: nn.LSTMCell, steps: Sequence[Tensor]) -> list[Tensor]:
        h = c = steps[0].new_zeros(steps[0].size(0), 6)
        output = []
        for x in steps:
            h, c = cell(x, (h, c))
            output.append(h)
        return output

    def forward(self, x: Tensor) -> Tensor:
        steps = list(x.unbind(1))
        one = self.run(self.forwards, steps)
        other = self.run(self.backwards, steps[::-1])[::-1]
        return torch.stack([torch.cat(pair, 1) for pair in zip(one, other, strict=True)], 1)


class ZoneoutGRU(nn.Module):
    """Krueger et al., Zoneout, 2017, section 3: the expectation while it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.p = nn.GRUCell(4, 6), 0.1

    def forward(self, x: Tensor) -> Tensor:
        h, output = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            new = self.cell(x[:, t], h)
            if self.training:
                h = torch.where(torch.rand_like(h) < self.p, h, new)
            else:
                h = self.p * h + (1 - self.p) * new
            output.append(h)
        return torch.stack(output, 1)


class AttentionDecoder(nn.Module):
    """Bahdanau, Cho and Bengio, Neural Machine Translation by Jointly Learning, 2015, eq. 4."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(14, 6), nn.Linear(6, 5)
        self.query, self.key, self.energy = nn.Linear(6, 6), nn.Linear(8, 6), nn.Linear(6, 1)

    def forward(self, y: Tensor, memory: Tensor) -> Tensor:
        h, keys, output = y.new_zeros(y.size(0), 6), self.key(memory), []
        for t in range(y.size(1)):
            energy = self.energy(torch.tanh(keys + self.query(h).unsqueeze(1))).squeeze(-1)
            weights = torch.softmax(energy, -1).unsqueeze(1)
            context = torch.bmm(weights, memory).squeeze(1)
            h = self.cell(torch.cat([y[:, t], context], 1), h)
            output.append(self.head(h))
        return torch.stack(output, 1)


_VIDEO = (torch.randn(2, 7, 2, 4, 5),)
_OTHERS: dict[type[nn.Module], tuple[Any, ...]] = {
    IndRNN: (torch.randn(9, 2, 4),),
    SRU: (torch.randn(2, 9, 6),),
    CfC: (torch.randn(2, 9, 4), torch.rand(2, 9, 1)),
    ConvLSTM: _VIDEO,
    ConvGRU: _VIDEO,
    PhasedLSTM: (torch.randn(2, 9, 4), torch.rand(2, 9).cumsum(1)),
    AttentionDecoder: (torch.randn(2, 9, 6), torch.randn(2, 7, 8)),
}
_KINDS: tuple[type[nn.Module], ...] = (
    *(LiGRU, LayerNormLSTM, PeepholeLSTM, HighwayLSTM, IndRNN, SRU, QRNN, MinGRU, MinLSTM, CfC),
    *(LTC, SLSTM, CoupledLSTM, ConvLSTM, ConvGRU, PhasedLSTM, ClockworkRNN, BidirectionalLSTM),
    *(ZoneoutGRU, AttentionDecoder),
)
RECURRENCES = {kind: _OTHERS.get(kind, (torch.randn(2, 9, 4),)) for kind in _KINDS}
"""Each with example inputs."""
NOT_STREAMED = (QRNN, ClockworkRNN, BidirectionalLSTM)
"""A convolution, positions, and a backward direction."""
