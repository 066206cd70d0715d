"""Weight files that others wrote: diffusers' aMUSEd `VQModel`, open-muse (also as torch.save), LWM's flax pickle.

A reader turns one of them into tensors under the published names (those of diffusers, which are the tree's own).
"""
