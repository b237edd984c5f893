# SPDX-License-Identifier: Apache-2.0
"""What talks to the outside: Nova and its neighbours, Docker, HTTP, private files. Uses `_core`, never `_runtime`.

Private to this collection: may change without notice.
"""
