"""The network: TabM, an ensemble of perceptrons that share their matrices. It is yours to replace.

Y. Gorishniy, A. Kotelnikov, A. Babenko, "TabM: Advancing Tabular Deep Learning with
Parameter-Efficient Ensembling", ICLR 2025; Y. Gorishniy, I. Rubachev, A. Babenko, "On Embeddings
for Numerical Features in Tabular Deep Learning", NeurIPS 2022; Y. Wen, D. Tran, J. Ba,
"BatchEnsemble", ICLR 2020. A test holds it against the authors' package `tabm`.

Scales and biases lie in vectors, whatever they belong to: only what is a matrix decays.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# standard deviations from the mean at which the outer bins of a number end
FARTHEST = 3.0


class NumberEmbeddings(nn.Module):
    """A vector for each number: a line, and a bend in it at each edge of a bin.

    The edges are quantiles of the normal distribution, which preprocessing gives to numbers; beyond
    the outer ones the line goes on. The bends are zero at first.

    Args:
        count: N, how many numbers a row has.
        width: of the vectors.
        bins: between the edges.
    """

    def __init__(self, count: int, width: int, bins: int) -> None:
        super().__init__()
        self.count = count
        edges = torch.tensor([-FARTHEST, *NormalDist().quantiles(bins), FARTHEST])
        self.left: Tensor
        self.size: Tensor
        self.register_buffer("left", edges[:-1], persistent=False)
        self.register_buffer("size", edges.diff(), persistent=False)
        self.slope = nn.Parameter(_uniform((count * width,), width))
        self.offset = nn.Parameter(_uniform((count * width,), width))
        self.bends = nn.Parameter(torch.zeros(count, bins, width))

    def forward(self, numbers: Tensor) -> Tensor:
        """Float [B, N] to [B, N, width]."""
        passed = ((numbers[:, :, None] - self.left) / self.size).clamp(0, 1)  # [B, N, bins]
        bent = torch.einsum("bnt,ntw->bnw", passed, self.bends)
        slope, offset = (one.view(self.count, -1) for one in (self.slope, self.offset))
        return numbers[:, :, None] * slope + offset + bent


class SharedLinear(nn.Module):
    """A linear layer of each member: they share its matrix, but scale what goes in and comes out.

    Args:
        members: M.
        inputs, outputs: values of a member.
    """

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.members = members
        self.scale_in = nn.Parameter(torch.ones(members * inputs))
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.scale_out = nn.Parameter(torch.ones(members * outputs))
        self.bias = nn.Parameter(_uniform((outputs,), inputs).repeat(members))

    def forward(self, x: Tensor) -> Tensor:
        """[B, M, inputs], or [B, 1, inputs] where all get the same, to [B, M, outputs]."""
        scale_in, scale_out, bias = (
            one.view(self.members, -1) for one in (self.scale_in, self.scale_out, self.bias)
        )
        h: Tensor = self.linear(x * scale_in)
        return h * scale_out + bias


class Heads(nn.Module):
    """A linear layer of each member, nothing of which is shared.

    Args:
        members: M.
        inputs, out_features: values of a member.
    """

    def __init__(self, members: int, inputs: int, out_features: int) -> None:
        super().__init__()
        self.out_features = out_features
        self.weight = nn.Parameter(_uniform((members, inputs, out_features), inputs))
        self.bias = nn.Parameter(_uniform((members * out_features,), inputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, M, inputs] to [B, M, out_features]."""
        return torch.einsum("bmi,mio->bmo", x, self.weight) + self.bias.view(-1, self.out_features)


class TabM(nn.Module):
    """Embeddings of numbers and categories, an ensemble of perceptrons, and what it says together.

    Args:
        task_type: decides how the members' answers become one.
        num_outputs: K: classes, labels or values.
        num_numbers: N, how many numbers a row has.
        cardinalities: rows in the table of each category.
        members: M, perceptrons of the ensemble.
        width, depth: of the perceptrons.
        embedding: width of the vector of a number or category.
        bins: pieces of the line that embeds a number.
        dropout: share of values left out behind each layer, in training.
    """

    def __init__(
        self,
        task_type: str,
        num_outputs: int,
        num_numbers: int,
        cardinalities: Sequence[int],
        members: int = 16,
        width: int = 128,
        depth: int = 2,
        embedding: int = 16,
        bins: int = 16,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.task_type = task_type
        self.number_embeddings = (
            NumberEmbeddings(num_numbers, embedding, bins) if num_numbers else None
        )
        # what no training row has stays zero, and says nothing
        self.category_embeddings = nn.ModuleList(
            nn.Embedding(rows, embedding, _weight=torch.zeros(rows, embedding))
            for rows in cardinalities
        )
        columns = num_numbers + len(cardinalities)
        widths = [columns * embedding, *[width] * depth]
        self.blocks = nn.ModuleList(SharedLinear(members, inputs, width) for inputs in widths[:-1])
        # members differ from the start in how they see each column
        seen = torch.randn(members, columns).repeat_interleave(embedding, dim=1)
        self.blocks[0].scale_in = nn.Parameter(seen.flatten())
        self.dropout = nn.Dropout(dropout)
        self.head = Heads(members, width, num_outputs)

    def forward(self, numbers: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Logits of rows.

        Args:
            numbers: float [B, N]; None where the table has none.
            categories: int64 [B, C], rows of the categories' tables; None where there are none.

        Returns:
            [B, M, K] in training, of each member, and [B, K] otherwise.
        """
        vectors = []
        if numbers is not None and self.number_embeddings is not None:
            vectors.append(self.number_embeddings(numbers).flatten(1))
        if categories is not None:
            vectors += [
                table(rows)
                for table, rows in zip(self.category_embeddings, categories.unbind(1), strict=True)
            ]
        x = torch.cat(vectors, dim=1)[:, None]  # [B, 1, columns * embedding]
        for block in self.blocks:
            x = self.dropout(F.relu(block(x)))
        logits: Tensor = self.head(x)
        return logits if self.training else together(logits, self.task_type)


def together(logits: Tensor, task_type: str) -> Tensor:
    """What an ensemble says: the mean of its members' probabilities, as logits, or of their values.

    Args:
        logits: of each member, [B, M, K].
        task_type: as in the task.

    Returns:
        [B, K].
    """
    if task_type == "tabular_regression":
        return logits.mean(1)
    # log(M) is left out where it changes no probability
    if task_type == "tabular_classification":
        return logits.log_softmax(2).logsumexp(1)
    return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)


def _uniform(shape: Sequence[int], inputs: int) -> Tensor:
    """As torch draws the weights of a layer with so many inputs."""
    bound = inputs**-0.5
    return torch.empty(*shape).uniform_(-bound, bound)


def build_model(
    task_type: str, num_outputs: int, num_numbers: int, cardinalities: Sequence[int]
) -> nn.Module:
    """The network for rows of so many numbers, and categories from tables of these sizes."""
    return TabM(task_type, num_outputs, num_numbers, cardinalities)
