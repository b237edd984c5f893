# SPDX-License-Identifier: Apache-2.0
"""What is done: observe, probe, provision, lock, remember. Decides with `_core`, and acts through `_clients`.

Private to this collection: may change without notice.
"""
