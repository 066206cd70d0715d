"""Attentions from elsewhere, each in a file of its own that imports its package only when it is measured."""

from lwm_core.bench.peers.cudnn import CuDNN
from lwm_core.bench.peers.jax_nn import JaxNN
from lwm_core.bench.peers.ringattention import RingAttentionPeer
from lwm_core.bench.peers.tokamax import Tokamax
from lwm_core.bench.peers.torch_sdpa import TorchSDPA


PEERS = {peer.name: peer for peer in (RingAttentionPeer(), JaxNN(), CuDNN(), Tokamax(), TorchSDPA())}
