"""Route 53's rules on one zone's records. Needs no moto: python3 -m unittest"""

import unittest

from route53_rules import Refused, apply_batch

ZONE = "k8s.example.com."


def record(name, *values, kind="A", ttl=60, **more):
    return {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": [{"Value": v} for v in values], **more}


def change(action, *args, **kwargs):
    return {"Action": action, "ResourceRecordSet": record(*args, **kwargs)}


class Batches(unittest.TestCase):
    def setUp(self):
        self.records = [record("api.k8s.example.com.", "10.0.0.1", "10.0.0.2")]

    def apply(self, *changes):
        return apply_batch(ZONE, self.records, changes)

    def refused(self, text, *changes):
        before = repr(self.records)
        with self.assertRaises(Refused) as refusal:
            self.apply(*changes)
        self.assertIn(text, str(refusal.exception))
        self.assertEqual(before, repr(self.records))

    def test_create_of_what_exists(self):
        self.refused("already exists", change("CREATE", "API.k8s.example.com", "10.0.0.9"))

    def test_delete_wants_an_exact_match(self):
        name = "api.k8s.example.com"
        self.refused("do not match", change("DELETE", name, "10.0.0.1"))
        self.refused("do not match", change("DELETE", name, "10.0.0.1", "10.0.0.2", ttl=61))
        self.refused("not found", change("DELETE", "other.k8s.example.com", "10.0.0.1"))
        self.assertEqual([], self.apply(change("DELETE", name, "10.0.0.2", "10.0.0.1")))

    def test_delete_after_an_upsert_wants_the_new_value(self):
        self.records = self.apply(change("UPSERT", "api.k8s.example.com", "10.0.0.7"))
        self.refused("do not match", change("DELETE", "api.k8s.example.com", "10.0.0.1", "10.0.0.2"))
        self.assertEqual([], self.apply(change("DELETE", "api.k8s.example.com", "10.0.0.7")))

    def test_a_batch_is_carried_out_whole_or_not_at_all(self):
        good = change("CREATE", "a.k8s.example.com", "10.0.0.3")
        self.refused("not permitted in zone", good, change("CREATE", "xk8s.example.com", "10.0.0.3"))
        self.refused("not found", good, change("DELETE", "none.k8s.example.com", "10.0.0.3"))
        self.assertEqual(2, len(self.apply(good)))

    def test_delete_and_create_in_one_batch(self):
        after = self.apply(
            change("DELETE", "api.k8s.example.com", "10.0.0.1", "10.0.0.2"), change("CREATE", "api.k8s.example.com", "10.0.0.3")
        )
        self.assertEqual([["10.0.0.3"]], [found["ResourceRecords"] for found in after])

    def test_only_the_named_record_of_a_set_identifier_goes(self):
        self.records = [
            record("a.k8s.example.com", "10.0.0.1", SetIdentifier="s1", Weight=1),
            record("b.k8s.example.com", "10.0.0.1", SetIdentifier="s1", Weight=1),
        ]
        after = self.apply(change("DELETE", "a.k8s.example.com", "10.0.0.1", SetIdentifier="s1", Weight=1))
        self.assertEqual(["b.k8s.example.com."], [found["Name"] for found in after])

    def test_values_and_neighbours(self):
        self.refused("IllegalAddress", change("UPSERT", "a.k8s.example.com", "10.0.0.300"))
        self.refused("apex", change("UPSERT", ZONE, "x.example.com", kind="CNAME"))
        self.refused("conflicts", change("CREATE", "api.k8s.example.com", "x.example.com", kind="CNAME"))
        self.refused("same name and type", change("CREATE", "api.k8s.example.com", "10.0.0.1", SetIdentifier="s", Weight=1))


if __name__ == "__main__":
    unittest.main()
