"""Bit errors in a network whose channels have been moved: the model's words meet the same flips."""

import numpy as np
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from flexhyca.faults.ber.machine import ProtectedMachine, draw_groups
from flexhyca.faults.ber.options import BerOptions, Case
from flexhyca.faults.ber.protection import ProtectedNetwork, neuron_shield, weight_shields
from flexhyca.network.functional import Functional
from flexhyca.tests.compiler.test_hardened import chains, hardened, without
from flexhyca.tests.support import compiled, networks, random_inputs, random_masks

OPTIONS = st.builds(
    BerOptions,
    target=st.sampled_from(["neuron", "acc"]),
    weight_faults=st.sampled_from(["pe", "raw", "none"]),
    protected=st.sampled_from(["ideal", "tmr_copies"]),
    input=st.booleans(),
    logits=st.just(True),
)


def logits(subject, options, rate, key):
    """What comes out of three images under a pattern of flips, which `key` names."""
    network = subject.network
    images = random_inputs(network, 3, 0)
    machine = ProtectedMachine(subject, Case("-", rate), options, {})
    found = []
    for group in draw_groups(network, options, rate, [key], np.arange(3)):
        upsets = machine.upsets(group)
        found.append(Functional(network).run(images[group.images], upsets=upsets))
    return np.concatenate(found)


@settings(max_examples=30, deadline=None)
@given(hardened(), OPTIONS, st.sampled_from([1e-3, 1e-2, 0.1]), st.data())
def test_moved_channels_meet_the_flips_of_the_model(config, options, rate, data):
    network = data.draw(chains(config.arithmetic) | networks(config.arithmetic))
    assume(network.weights)
    key = data.draw(st.integers(0, 99))
    masks = random_masks(network, 0.3, key)
    # Without more bits in hardened columns, where a channel is computed makes no difference.
    same = config.protection.model_copy(update={"ib_th": config.protection.nb_th})
    alike = config.model_copy(update={"protection": same})
    moved = ProtectedNetwork.compiled(compiled(network, alike, masks))
    plain = ProtectedNetwork.compiled(compiled(network, without(alike), None))
    packed = any(layer.packed > 1 for layer in moved.network.layers)
    event(f"moved: {any(tensor.order for tensor in moved.network.tensors)}, packed: {packed}")
    if not packed or options.weight_faults == "none":  # zeros between groups meet other operands
        np.testing.assert_array_equal(
            logits(moved, options, rate, key), logits(plain, options, rate, key)
        )
    # With more bits there, the network itself and the program's say the same.
    program = compiled(network, config, masks)
    if not packed:
        own = ProtectedNetwork.compiled(program)
        model = ProtectedNetwork.of(network, config, masks)
        np.testing.assert_array_equal(
            logits(own, options, rate, key), logits(model, options, rate, key)
        )


def test_hardened_channels_have_more_bits():
    from flexhyca.tests.compiler.test_hardened import chain, config_of, counts

    network = chain(3, 5, 5, 2)
    config = config_of(2, "protection.ib_th=3", "protection.nb_th=1")
    masks = counts(network, 1)
    subject = ProtectedNetwork.of(network, config, masks)
    assert not subject.important
    for i, channels in subject.hardened.items():
        worth = masks[i].sum((0, 1))
        if i < 2:  # the last layer's channels are the network's output
            assert worth[channels].min() >= worth[~channels].max()
    for shield in (neuron_shield(subject, BerOptions()), weight_shields(subject, BerOptions())[0]):
        assert shield.low.tolist() == [[7, 5]] * 3
        assert shield.high.tolist() == [[8, 8]] * 3
    neurons = ProtectedMachine(subject, Case("-", 0.5), BerOptions(), {})._memories["neurons"]
    assert neurons.important.sum() == 4 * sum(c.sum() for c in subject.hardened.values())
