"""How the native product basis evaluates its polynomials: few shared products, and sparse sums over them.

Every monomial of an output is written as prefix * factor, both either one feature, the product of two, or (the factor)
1. Monomials of an output with the same prefix form a group ``prefix * sum_k coefficient_k * factor_k``. Which products
of two are formed, and which prefix a monomial takes, is chosen greedily, to have few of both.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from equipot.kernels.plans import ProductBasisPlan

#: A product of features: their indices, ascending; () is 1.
Monomial = tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """``prefix * sum_k coefficient_k * factor_k``, added to one output.

    Attributes:
        prefix: node number.
        factors: node number of each entry.
        terms: for each entry the (path, value) pairs its coefficient ``sum value * weight[path]`` consists of.
    """

    prefix: int
    factors: tuple[int, ...]
    terms: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True)
class ProductProgram:
    """The order of evaluation. Nodes: 0 is 1, then the features, then ``products`` (pairs of earlier nodes).

    Attributes:
        num_inputs: (l_max+1)^2 features.
        num_paths: weights a species and channel, all terms of the plan one behind the other.
        products: the nodes each further node is the product of.
        outputs: the groups of each output component, (l, m) in the order of ``plan.l_out``.
    """

    num_inputs: int
    num_paths: int
    products: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[Group, ...], ...]

    @classmethod
    def build(cls, plan: ProductBasisPlan) -> ProductProgram:
        """The program of a plan; the same for the same plan, always."""
        size = (plan.l_max + 1) ** 2
        outputs, num_paths = _polynomials(plan)
        pairs = _choose_pairs({monomial for output in outputs for monomial in output})
        nodes: dict[Monomial, int] = {(): 0, **{(a,): 1 + a for a in range(size)}}
        nodes.update({pair: 1 + size + n for n, pair in enumerate(pairs)})
        products = tuple((1 + a, 1 + b) for a, b in pairs)
        groups = tuple(_group(output, nodes) for output in outputs)
        return cls(size, num_paths, products, groups)


def _polynomials(plan: ProductBasisPlan) -> tuple[list[dict[Monomial, list[tuple[int, float]]]], int]:
    """For each output component the paths and values of its monomials, and the number of paths."""
    first_path, position = {}, 0
    for term in plan.terms:
        first_path[term] = position
        position += plan.num_paths(*term)
    outputs = []
    for l in plan.l_out:
        components: list[dict[Monomial, list[tuple[int, float]]]] = [{} for _ in range(2 * l + 1)]
        for order in range(1, plan.correlation + 1):
            table = plan.coefficients(l, order)
            for m, path, n in (table.abs() > 1e-12).nonzero().tolist():
                terms = components[m].setdefault(plan.monomials[order - 1][n], [])
                terms.append((first_path[l, order] + path, float(table[m, path, n])))
        outputs += components
    return outputs, position


def _choose_pairs(monomials: set[Monomial]) -> list[Monomial]:
    """Products of two features such that every monomial splits into them and single features."""
    uncovered = {monomial for monomial in monomials if len(monomial) == 3}
    chosen: set[Monomial] = set()
    while uncovered:
        count: dict[Monomial, int] = {}
        for monomial in uncovered:
            for pair in set(itertools.combinations(monomial, 2)):
                count[pair] = count.get(pair, 0) + 1
        best = min(count, key=lambda pair: (-count[pair], pair))
        chosen.add(best)
        uncovered = {monomial for monomial in uncovered if best not in itertools.combinations(monomial, 2)}
    for monomial in sorted(monomial for monomial in monomials if len(monomial) == 4):
        splits = [{pair, _without(monomial, pair)} for pair in sorted(set(itertools.combinations(monomial, 2)))]
        chosen |= min(splits, key=lambda split: len(split - chosen))
    return sorted(chosen)


def _group(output: dict[Monomial, list[tuple[int, float]]], nodes: dict[Monomial, int]) -> tuple[Group, ...]:
    """Share the monomials of one output out among few prefixes, longest group first."""
    uncovered, groups = set(output), []
    while uncovered:
        members: dict[Monomial, list[Monomial]] = {}
        for monomial in sorted(uncovered):
            for length in (1, 2):
                for prefix in set(itertools.combinations(monomial, length)):
                    if prefix in nodes and _without(monomial, prefix) in nodes:
                        members.setdefault(prefix, []).append(monomial)
        best = min(members, key=lambda prefix: (-len(members[prefix]), len(prefix), prefix))
        factors = tuple(nodes[_without(monomial, best)] for monomial in members[best])
        groups.append(Group(nodes[best], factors, tuple(tuple(output[monomial]) for monomial in members[best])))
        uncovered -= set(members[best])
    return tuple(groups)


def _without(monomial: Monomial, part: Monomial) -> Monomial:
    rest = list(monomial)
    for index in part:
        rest.remove(index)
    return tuple(rest)
