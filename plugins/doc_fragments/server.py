# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that specify one server."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(gpuswarm.ollama.server), and for a list of servers as C(gpuswarm.ollama.server.fleet)."""

    DOCUMENTATION = r"""
options:
  role:
    description: What the server is in the fleet. Becomes the metadata C(gpuswarm_role).
    type: str
    choices: [manager, gpu_worker]
    default: gpu_worker
  flavor:
    description:
      - Name or ID of the flavor. Required to create the server.
      - For Selectel take one without local disk, for example V(GL10.8-32768-0-1GPU).
    type: str
  image:
    description: Name or ID of the image that the boot volume is made from. Required to create the server.
    type: str
  availability_zone:
    description: Availability zone, at Selectel the pool segment (V(ru-7a)). Required to create the server.
    type: str
  network:
    description: Name or ID of the network of the server's port. Required to create the server.
    type: str
  security_groups:
    description:
      - Names or IDs of the security groups of the server's port. Changed in place.
      - An empty list leaves them to the cloud.
    type: list
    elements: str
    default: []
  key_name:
    description: Name of the key pair whose public key the server gets at its creation.
    type: str
  volume_size:
    description: Size of the boot volume in GiB.
    type: int
    default: 20
  volume_type:
    description:
      - Type of the boot volume; at Selectel C(<type>.<zone>), for example V(fast.ru-7a).
      - C({zone}) in it stands for the zone.
      - By default the cloud's own default.
    type: str
  volume_availability_zone:
    description: Availability zone of the boot volume, where the block storage names its zones differently.
    type: str
  preemptible:
    description:
      - Whether it gets the tag O(preemptible_tag) when created. It is cheap, but can be taken away.
      - Cannot be changed on an existing server; a difference is warned about.
    type: bool
    default: false
  preemptible_tag:
    description: The tag that makes a server preemptible.
    type: str
    default: preemptible
  floating_ip_network:
    description: Name or ID of the external network that a floating IP is taken from. By default there is none.
    type: str
  restart_stopped:
    description:
      - Whether a server that is C(SHUTOFF) is started.
      - By default it is reported and left alone, since this is what a person's stop looks like.
    type: bool
    default: false
  metadata:
    description: More metadata, values are strings. Keys are added and changed in place, never removed.
    type: dict
    default: {}
  tags:
    description: More tags. They are added in place, never removed.
    type: list
    elements: str
    default: []
  user_data:
    description: User data for cloud-init, encoded in Base64. Read at the creation only.
    type: str
  alternatives:
    description:
      - Other places for the server, tried in this order when there is no room for it where it belongs.
      - A server in another zone gets a fresh boot volume, and the one that it had is deleted once the new one is
        C(ACTIVE). So name other zones only for servers whose disk holds nothing that cannot be restored.
      - A server that runs in one of these places is as it should be. It stays there.
    type: list
    elements: dict
    default: []
    suboptions:
      availability_zone:
        description: Its availability zone. By default O(availability_zone).
        type: str
      flavor:
        description: Name or ID of its flavor. By default O(flavor).
        type: str
      volume_type:
        description: Type of its boot volume. By default O(volume_type).
        type: str
      volume_availability_zone:
        description: Availability zone of its boot volume. By default O(volume_availability_zone).
        type: str
  on_demand_fallback:
    description:
      - Whether an ordinary server is created, in the same order of places, when none of them has room for a
        preemptible one. It costs several times as much.
      - It stays until a run with O(return_to_preemptible=true) replaces it.
    type: bool
    default: false
  strategy_timeouts:
    description:
      - Seconds that each strategy may take to bring the server back before the next is tried. The last one that is
        left may take as long as O(timeout) allows.
    type: dict
    suboptions:
      unshelve:
        description: For the same server to be unshelved. GPU servers are usable after about three minutes.
        type: int
        default: 300
      recreate:
        description: For a new server on the same boot volume and port.
        type: int
        default: 600
      alternative:
        description: For a new server in each of O(alternatives), its volume filled from the image.
        type: int
        default: 600
      on_demand:
        description: For an ordinary server in each place.
        type: int
        default: 600
  capacity_memory:
    description:
      - File that remembers which zones had no room for which flavor. They are passed over for a minute, then twice
        as long each time, up to half an hour; each pause is shortened at random by up to a half.
      - It is made with the mode C(0600). One that is missing, damaged or cannot be written is no error.
      - By default only the servers of one run learn from each other.
    type: path
"""

    # The same, one level deeper: a test compares them.
    FLEET = r"""
options:
  servers:
    description: The servers, each with the options of one.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the server, unique in the fleet.
        type: str
        required: true
      role:
        description: What the server is in the fleet. Becomes the metadata C(gpuswarm_role).
        type: str
        choices: [manager, gpu_worker]
        default: gpu_worker
      flavor:
        description:
          - Name or ID of the flavor. Required to create the server.
          - For Selectel take one without local disk, for example V(GL10.8-32768-0-1GPU).
        type: str
      image:
        description: Name or ID of the image that the boot volume is made from. Required to create the server.
        type: str
      availability_zone:
        description: Availability zone, at Selectel the pool segment (V(ru-7a)). Required to create the server.
        type: str
      network:
        description: Name or ID of the network of the server's port. Required to create the server.
        type: str
      security_groups:
        description:
          - Names or IDs of the security groups of the server's port. Changed in place.
          - An empty list leaves them to the cloud.
        type: list
        elements: str
        default: []
      key_name:
        description: Name of the key pair whose public key the server gets at its creation.
        type: str
      volume_size:
        description: Size of the boot volume in GiB.
        type: int
        default: 20
      volume_type:
        description:
          - Type of the boot volume; at Selectel C(<type>.<zone>), for example V(fast.ru-7a).
          - C({zone}) in it stands for the zone.
          - By default the cloud's own default.
        type: str
      volume_availability_zone:
        description: Availability zone of the boot volume, where the block storage names its zones differently.
        type: str
      preemptible:
        description:
          - Whether it gets the tag O(servers[].preemptible_tag) when created. It is cheap, but can be taken away.
          - Cannot be changed on an existing server; a difference is warned about.
        type: bool
        default: false
      preemptible_tag:
        description: The tag that makes a server preemptible.
        type: str
        default: preemptible
      floating_ip_network:
        description: Name or ID of the external network that a floating IP is taken from. By default there is none.
        type: str
      restart_stopped:
        description:
          - Whether a server that is C(SHUTOFF) is started.
          - By default it is reported and left alone, since this is what a person's stop looks like.
        type: bool
        default: false
      metadata:
        description: More metadata, values are strings. Keys are added and changed in place, never removed.
        type: dict
        default: {}
      tags:
        description: More tags. They are added in place, never removed.
        type: list
        elements: str
        default: []
      user_data:
        description: User data for cloud-init, encoded in Base64. Read at the creation only.
        type: str
      alternatives:
        description:
          - Other places for the server, tried in this order when there is no room for it where it belongs.
          - A server in another zone gets a fresh boot volume, and the one that it had is deleted once the new one is
            C(ACTIVE). So name other zones only for servers whose disk holds nothing that cannot be restored.
          - A server that runs in one of these places is as it should be. It stays there.
        type: list
        elements: dict
        default: []
        suboptions:
          availability_zone:
            description: Its availability zone. By default O(servers[].availability_zone).
            type: str
          flavor:
            description: Name or ID of its flavor. By default O(servers[].flavor).
            type: str
          volume_type:
            description: Type of its boot volume. By default O(servers[].volume_type).
            type: str
          volume_availability_zone:
            description: Availability zone of its boot volume. By default O(servers[].volume_availability_zone).
            type: str
      on_demand_fallback:
        description:
          - Whether an ordinary server is created, in the same order of places, when none of them has room for a
            preemptible one. It costs several times as much.
          - It stays until a run with O(return_to_preemptible=true) replaces it.
        type: bool
        default: false
      strategy_timeouts:
        description:
          - Seconds that each strategy may take to bring the server back before the next is tried. The last one that is
            left may take as long as O(timeout) allows.
        type: dict
        suboptions:
          unshelve:
            description: For the same server to be unshelved. GPU servers are usable after about three minutes.
            type: int
            default: 300
          recreate:
            description: For a new server on the same boot volume and port.
            type: int
            default: 600
          alternative:
            description: For a new server in each of O(servers[].alternatives), its volume filled from the image.
            type: int
            default: 600
          on_demand:
            description: For an ordinary server in each place.
            type: int
            default: 600
      capacity_memory:
        description:
          - File that remembers which zones had no room for which flavor. They are passed over for a minute, then twice
            as long each time, up to half an hour; each pause is shortened at random by up to a half.
          - It is made with the mode C(0600). One that is missing, damaged or cannot be written is no error.
          - By default only the servers of one run learn from each other.
        type: path
"""
