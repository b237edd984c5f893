# SPDX-License-Identifier: Apache-2.0
"""What is decided: plain data and pure functions. Nothing in here reads a clock or a file, or talks to anything.

Private to this collection: may change without notice.
"""
