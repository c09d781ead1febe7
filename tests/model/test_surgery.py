import pytest
import torch

from sktreevae.model import (
    DiagonalGaussian,
    Encoding,
    TopDown,
    Topology,
    attach,
    new_split,
    prune,
)

from .strategies import (
    NETWORKS,
    balanced,
    caterpillar,
    infer,
    leaf_log_proba,
    make_data,
    make_image_model,
    make_model,
)


def test_attaching_changes_nothing_above(generator):
    model = make_model(caterpillar(3))
    x = make_data(4, generator)
    before = infer(model, x)
    split = TopDown(Topology.stump(), model.config, generator=generator).double()
    leaf = 1
    change = model.topology.split_leaf(leaf)
    model.top_down = attach(model.top_down, leaf, split)
    after = infer(model, x)
    assert model.topology == change.topology
    new = [
        change.topology.leaves.index(i) for i, s in enumerate(change.source) if s < 0
    ]
    log_before, log_after = (
        posterior.routing.leaf_log_proba for posterior in (before, after)
    )
    torch.testing.assert_close(log_after[new].logsumexp(0), log_before[leaf])
    old = [i for i in range(len(model.topology.leaves)) if i not in new]
    kept = [i for i in range(3) if i != leaf]
    torch.testing.assert_close(log_after[old], log_before[kept])
    torch.testing.assert_close(after.leaf_z[old], before.leaf_z[kept])


def test_attached_splits_compute_what_they_did_alone(generator):
    model = make_model(Topology.stump())
    split = new_split(model.top_down, generator)
    x = make_data(4, generator)
    encoding = model.encode(x)
    posterior = infer(model, x)
    parent = DiagonalGaussian(posterior.q.mean[2], posterior.q.variance[2])
    alone = split.posterior(
        Encoding(encoding.embeddings[1:], encoding.posterior_inputs[1:]),
        parent,
        root_prior=parent,
        root_log_proba=posterior.routing.node_log_proba[2],
    )
    model.top_down = attach(model.top_down, 1, split)
    whole = infer(model, x)
    torch.testing.assert_close(
        whole.routing.leaf_log_proba[1:], alone.routing.leaf_log_proba
    )
    torch.testing.assert_close(whole.leaf_z[1:], alone.leaf_z)
    alone_log_prob = split.leaf_log_prob(alone, x)
    whole_log_prob = model.top_down.leaf_log_prob(whole, x)
    torch.testing.assert_close(whole_log_prob[1:], alone_log_prob)


def test_pruning_sends_samples_to_the_sibling(generator):
    model = make_model(balanced(2))
    x = make_data(4, generator)
    before = leaf_log_proba(model, x)
    model.top_down = prune(model.top_down, 0)
    after = leaf_log_proba(model, x)
    torch.testing.assert_close(after[0], before[:2].logsumexp(0))
    torch.testing.assert_close(after[1:], before[2:])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["loadings", *NETWORKS])
def test_decoders_of_leaves_survive_pruning_and_attaching(kind, generator):
    tree, leaf = caterpillar(3), 1
    if kind == "loadings":
        model = make_model(tree)
        split = new_split(model.top_down, generator)
        split.decoders.loadings.normal_(generator=generator)
    else:
        model = make_image_model(tree, kind)
        split = new_split(model.top_down, generator)
    old = model.top_down
    z = torch.randn(1, 4, 3, generator=generator).double()

    def decode(top_down):
        return top_down.decoders(z.expand(len(top_down.topology.leaves), -1, -1))

    before = decode(old)
    torch.testing.assert_close(decode(prune(old, leaf)), before[[0, 2]])
    change = model.topology.split_leaf(leaf)
    sources = [change.source[i] for i in change.topology.leaves]
    new = iter(decode(split))
    expected = [
        next(new) if i < 0 else before[model.topology.leaves.index(i)] for i in sources
    ]
    torch.testing.assert_close(decode(attach(old, leaf, split)), torch.stack(expected))


@pytest.mark.parametrize("kind", ["mlp", *NETWORKS])
def test_what_leaves_share_is_frozen_in_a_new_split(kind, generator):
    model = make_image_model(caterpillar(3), kind)
    split = new_split(model.top_down, generator)
    attached = attach(model.top_down, 1, split)
    for name, parameter in split.named_parameters():
        shared = name.startswith("decoders.readout")
        assert parameter.requires_grad == (not shared), name
        if shared:
            for tree in (model.top_down, attached):
                assert torch.equal(tree.get_parameter(name), parameter)
                assert tree.get_parameter(name) is not parameter
    assert all(p.requires_grad for p in attached.parameters())
    parts = *model.top_down.parameters(), *split.parameters()
    assert {id(p) for p in attached.parameters()}.isdisjoint(map(id, parts))
