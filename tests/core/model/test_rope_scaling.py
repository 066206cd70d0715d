"""Every scaling rule against its published definition in float64, and against numbers of Hugging Face's."""

import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.model import DynamicNTKRope, LinearRope, Llama3Rope, NTKRope, Rotary, YarnRope


# inv_freq and attention_factor of transformers 5.23 `ROPE_INIT_FUNCTIONS`, evaluated in float64; heads of width 16.
# fmt: off
HUGGING_FACE = {
    "linear": (LinearRope(1e4, 4.0), 1.0,
        [0.25, 0.0790569415, 0.025, 0.00790569415, 0.0025, 0.000790569415, 0.00025, 7.90569415e-05]),
    "dynamic": (DynamicNTKRope(1e4, 2.0, 2048, 8192), 1.0,
        [1.0, 0.239481356, 0.0573513199, 0.0137345719, 0.00328917389, 0.000787695824, 0.000188638464, 4.51753951e-05]),
    "yarn": (YarnRope(1e4, 4.0, 4096), 1.138629436111989,
        [1.0, 0.316227766, 0.1, 0.025693506, 0.00625, 0.00138349648, 0.00025, 7.90569415e-05]),
    "yarn, not truncated": (YarnRope(1e4, 4.0, 4096, 16.0, 2.0, truncate=False), 1.138629436111989,
        [1.0, 0.316227766, 0.1, 0.0316227766, 0.0067616192, 0.000825104359, 0.00025, 7.90569415e-05]),
    "llama3": (Llama3Rope(5e5, 8.0, 8192), 1.0,
        [1.0, 0.193922745, 0.0376060309, 0.00729266474, 0.000524846161, 3.4281022e-05, 6.64786987e-06, 1.28917317e-06]),
}
# fmt: on


@pytest.mark.parametrize("rule", HUGGING_FACE)
def test_frequencies_and_amplitude_are_hugging_faces(rule):
    rope, amplitude, frequencies = HUGGING_FACE[rule]
    angles = rope.angles(16)
    np.testing.assert_allclose(angles.frequency, frequencies, rtol=1e-8)
    assert angles.amplitude == pytest.approx(amplitude, rel=1e-12)


def test_a_wide_yarn_head_is_hugging_faces():
    frequency = YarnRope(1e6, 4.0, 32_768).angles(128).frequency
    want = [1.0, 0.0133352143, 0.00106436098, 4.44569853e-05, 5.13381257e-06, 3.1023444e-07]
    np.testing.assert_allclose(frequency[[0, 20, 30, 40, 50, 63]], want, rtol=1e-8)


@pytest.mark.parametrize("width, theta, factor", [(16, 1e4, 4.0), (64, 5e5, 32.0), (128, 1e6, 7.5)])
def test_ntk_stretches_the_slowest_pair_by_the_factor_and_the_fastest_not_at_all(width, theta, factor):
    plain = theta ** (-np.arange(0, width, 2) / width)
    scaled = NTKRope(theta, factor).angles(width).frequency
    assert scaled[0] == 1.0 and scaled[-1] * factor == pytest.approx(plain[-1], rel=1e-12)
    np.testing.assert_allclose(scaled, (theta * factor ** (width / (width - 2))) ** (-np.arange(0, width, 2) / width))


@pytest.mark.parametrize("width, theta, factor, original", [(64, 1e4, 8.0, 2048), (128, 5e5, 16.0, 8192)])
def test_by_parts_rules_follow_their_papers(width, theta, factor, original):
    """YaRN eq. 16 to 22 with whole ramp ends, and Llama 3.1's smoothing, written out pair by pair."""
    yarn, llama = [], []
    ends = [width * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(theta)) for turns in (32, 1)]
    low, high = np.floor(ends[0]), np.ceil(ends[1])
    for i in range(width // 2):
        plain = theta ** (-2 * i / width)
        ramp = min(max((i - low) / (high - low), 0), 1)
        yarn.append((1 - ramp) * plain + ramp * plain / factor)
        wavelength = 2 * np.pi / plain
        if wavelength < original / 4:
            llama.append(plain)
        elif wavelength > original / 1:
            llama.append(plain / factor)
        else:
            smooth = (original / wavelength - 1) / (4 - 1)
            llama.append((1 - smooth) * plain / factor + smooth * plain)
    angles = YarnRope(theta, factor, original).angles(width)
    np.testing.assert_allclose(angles.frequency, yarn, rtol=1e-12)
    assert angles.amplitude == pytest.approx(0.1 * np.log(factor) + 1)
    np.testing.assert_allclose(Llama3Rope(theta, factor, original).angles(width).frequency, llama, rtol=1e-12)


def test_a_factor_of_one_is_plain_rotary_and_up_to_the_trained_length_dynamic_is_too():
    x, position = jnp.linspace(-1, 1, 2 * 16).reshape(1, 2, 1, 16), jnp.asarray([[3, 90]], jnp.int32)
    plain = Rotary(1e4)(x, position)
    for rope in (LinearRope(), NTKRope(), YarnRope(), Llama3Rope(1e4, 1.0), DynamicNTKRope(1e4, 4.0, 2048, 512)):
        np.testing.assert_allclose(rope(x, position), plain, atol=1e-5, err_msg=str(rope))


def test_what_is_applied_is_the_angles():
    """Interpolated by 4, position 400 is position 100; YaRN makes vectors longer by its amplitude."""
    x = jnp.linspace(-1, 1, 16).reshape(1, 1, 1, 16)
    at = lambda rope, p: rope(x, jnp.asarray([[p]], jnp.int32))  # noqa: E731
    np.testing.assert_allclose(at(LinearRope(1e4, 4.0), 400), at(Rotary(1e4), 100), atol=1e-5)
    yarn = YarnRope(1e4, 4.0, 4096)
    np.testing.assert_allclose(jnp.linalg.norm(at(yarn, 7)), jnp.linalg.norm(x) * 1.1386294, rtol=1e-5)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: LinearRope(1e4, 0.5), "factor=0.5"),
        (lambda: NTKRope(1.0), "theta=1.0"),
        (lambda: YarnRope(beta_fast=1.0, beta_slow=32.0), "beta_fast > beta_slow"),
        (lambda: Llama3Rope(low_freq_factor=4.0, high_freq_factor=1.0), "high_freq_factor > low_freq_factor"),
        (lambda: DynamicNTKRope(original_length=0), "original_length=0"),
        (lambda: NTKRope(1e4, 2.0).angles(2), "at least 4 numbers"),
    ],
)
def test_an_option_that_means_nothing_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
