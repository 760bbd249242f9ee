"""What RunInstances and its neighbours refuse at AWS and moto lets through."""

import functools

from moto.ec2 import utils
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance


def _check_zone(backend, subnet_id, zone):
    subnet = backend.get_subnet(subnet_id)
    if zone and subnet.availability_zone != zone:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"The availability zone '{zone}' of the request is not that of {subnet_id}, {subnet.availability_zone}",
        )


def _check_architecture(backend, image_id, machine_type):
    image = backend.amis.get(image_id)
    known = INSTANCE_TYPES.get(machine_type, {}).get("ProcessorInfo", {}).get("SupportedArchitectures")
    if image and known and image.architecture not in known:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"The architecture '{','.join(known)}' of the specified instance type does not match the architecture "
            f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching "
            "architectures, and try again.",
        )


def _check(backend, image_id, kwargs):
    in_interfaces = [nic["SubnetId"] for nic in kwargs.get("nics") or [] if "SubnetId" in nic]
    for subnet_id in in_interfaces or [kwargs.get("subnet_id")]:
        if subnet_id:
            _check_zone(backend, subnet_id, kwargs.get("placement"))
    if not in_interfaces and not kwargs.get("subnet_id") and not kwargs.get("launch_template"):
        # moto would give a random address in no known subnet; EC2 takes the default subnet
        defaults = backend.get_default_subnets() or {}
        zone = kwargs.get("placement") or next(iter(sorted(defaults)), None)
        if zone in defaults and not kwargs.get("nics"):
            kwargs["subnet_id"] = defaults[zone].id
    _check_architecture(backend, image_id, kwargs.get("instance_type"))


def stopped_by_itself(instance, region, account="123456789012"):
    """A node that powered itself off: EC2 shows the instance as stopped."""
    backend = ec2_backends[account][region]
    found = backend.get_instance(instance)
    if found.state == "running":
        backend.stop_instances([instance])
    return {"state": found.state}


def _own_interfaces(prep):
    """Interfaces made by RunInstances go with the instance unless the request says otherwise; in moto they stay."""

    @functools.wraps(prep)
    def prep_nics(self, nic_spec, **kwargs):
        asked = {int(n.get("DeviceIndex", 0)): (n.get("NetworkInterfaceId"), n.get("DeleteOnTermination")) for n in nic_spec}
        prep(self, nic_spec, **kwargs)
        for index, interface in self.nics.items():
            existing, keep = asked.get(index, (None, None))
            if not existing and keep is not False:
                interface.delete_on_termination = True
        if 0 in self.nics and not self.security_groups:
            # groups that came with the interface: EC2 shows them on the instance, moto does not
            self.security_groups = list(self.nics[0]._group_set)

    return prep_nics


def _group_set(self):
    """A first interface has its instance's groups; moto adds up old and new ones when they are changed."""
    if self.instance is not None and self.device_index == 0 and self.instance.security_groups:
        return list(self.instance.security_groups)
    return self._group_set


def _modify_interface(original):
    @functools.wraps(original)
    def modify_network_interface_attribute(self, eni_id, *args, **kwargs):
        interface = self.get_network_interface(eni_id)
        before = list(interface._group_set)
        original(self, eni_id, *args, **kwargs)
        if interface.instance is not None and interface.device_index == 0 and interface._group_set != before:
            interface.instance.security_groups = list(interface._group_set)

    return modify_network_interface_attribute


def _no_clash(backend, reservation):
    """The lab has one router: an address means one machine, in whatever VPC."""
    new = {found.id: found for found in reservation.instances}
    for other in backend.all_instances():
        for found in new.values():
            if other.id in new or other.state == "terminated" or found.private_ip != other.private_ip:
                continue
            backend.terminate_instances(list(new))
            raise EC2ClientError(
                "LabAddressInUse",
                f"{found.private_ip} is the address of {other.id} in another VPC, {other.vpc_id}. AWS allows that; the lab "
                "has one router for all VPCs: give this one another CIDR, or delete the other one's instances first.",
            )


def install():
    utils.filter_dict_attribute_mapping["client-token"] = "client_token"
    utils.filter_dict_attribute_mapping["instance-lifecycle"] = "lifecycle"
    run, start = EC2Backend.run_instances, EC2Backend.start_instances

    def run_instances(self, image_id, count, user_data, security_group_names, **kwargs):
        _check(self, image_id, kwargs)
        reservation = run(self, image_id, count, user_data, security_group_names, **kwargs)
        _no_clash(self, reservation)
        return reservation

    def start_instances(self, instance_ids):
        for found in self.get_multi_instances_by_id(instance_ids):
            if found.state not in ("stopped", "running"):
                raise EC2ClientError(
                    "IncorrectInstanceState",
                    f"The instance '{found.id}' is not in a state from which it can be started.",
                )
        return start(self, instance_ids)

    EC2Backend.run_instances = run_instances
    EC2Backend.start_instances = start_instances
    Instance.prep_nics = _own_interfaces(Instance.prep_nics)
    NetworkInterface.group_set = property(_group_set)
    EC2Backend.modify_network_interface_attribute = _modify_interface(EC2Backend.modify_network_interface_attribute)
