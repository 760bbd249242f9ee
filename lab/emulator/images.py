"""The lab's images: the official Debian and Ubuntu families, made up by rule, the same ids in every region."""

import json
import os

FAMILIES = [
    # owner, id prefix, name, root device, dates (the newest is what an alias should find)
    ("136693071363", "0deb12", "debian-12-{amd}-{date}-{serial}", "/dev/xvda", ["20260519", "20261026"]),
    ("136693071363", "0deb13", "debian-13-{amd}-{date}-{serial}", "/dev/xvda", ["20260602", "20261101"]),
    ("099720109477", "0c2204", "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-{amd}-server-{date}", "/dev/sda1", ["20260610", "20261028"]),
    ("099720109477", "0c2404", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{amd}-server-{date}", "/dev/sda1", ["20260612", "20261104"]),
]


def images():
    for owner, prefix, name, device, dates in FAMILIES:
        for number, date in enumerate(dates):
            for amd, architecture, code in (("amd64", "x86_64", "86"), ("arm64", "arm64", "64")):
                full = name.format(amd=amd, date=date, serial=2100 + 184 * number)
                yield {
                    "ami_id": f"ami-{prefix}{date}{code}{number}",
                    "name": full,
                    "description": f"{full.split('/')[-1]} (lab image)",
                    "owner_id": owner,
                    "architecture": architecture,
                    "creation_date": f"{date[:4]}-{date[4:6]}-{date[6:]}T08:0{number}:00.000Z",
                    "root_device_name": device,
                    "root_device_type": "ebs",
                    "image_location": f"{owner}/{full}",
                    "image_type": "machine",
                    "virtualization_type": "hvm",
                    "hypervisor": "xen",
                    "state": "available",
                    "public": True,
                    "sriov": "simple",
                    "boot_mode": "uefi" if architecture == "arm64" else "uefi-preferred",
                }


def login_user(image_name):
    return "ubuntu" if (image_name or "").startswith("ubuntu/") else "admin"


def write(path):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(list(images()), out, indent=1)


def install():
    """moto calls every image Amazon's own; these have no owner alias."""
    from moto.ec2.models import EC2Backend

    load = EC2Backend._load_amis

    def _load_amis(self):
        load(self)
        for image in self.amis.values():
            image.owner_alias = None

    EC2Backend._load_amis = _load_amis


# moto reads its list when it is first imported, so it has to be there by then
if "MOTO_AMIS_PATH" in os.environ:
    write(os.environ["MOTO_AMIS_PATH"])
