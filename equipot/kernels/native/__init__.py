"""The native kernels: C++ libraries loaded with ctypes, behind torch custom operators."""
