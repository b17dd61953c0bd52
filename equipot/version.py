"""The version of the package, kept free of imports so that the build can read it."""

__version__ = "0.1.0"

#: Of the native kernels' entry points. Raised with every change of one, together with equipot_abi_version() in
#: kernels/csrc/library.cpp.
KERNELS_ABI_VERSION = 3
