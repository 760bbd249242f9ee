//! Ways to log in, and where packages come from: keys that need or exclude each other.

use crate::cluster::Image;
use crate::spec::file::SpecFile;
use crate::spec::problem::{Code, Fault, Findings};
use crate::spec::values::machine::KeyText;
use crate::spec::values::words::Source;

pub(super) fn check(spec: &SpecFile, findings: &mut Findings) {
    login(spec, findings);
    user(spec, findings);
    packages(spec, findings);
}

fn login(spec: &SpecFile, findings: &mut Findings) {
    let Some(ssh) = spec.ssh.as_ref().map(|ssh| &ssh.value) else { return };
    if let (Some(agent), Some(_)) = (&ssh.agent, &ssh.private_key)
        && agent.value
    {
        let fault = Fault::new(Code::Login, "`agent` and `private_key` exclude each other");
        findings.error(&agent.span, fault.help("leave one of them out"));
    }
    if let (Some(agent), None) = (&ssh.agent, &ssh.private_key)
        && !agent.value
    {
        let fault = Fault::new(Code::Login, "without the agent and without `private_key` there is no way to log in");
        findings.error(&agent.span, fault.help("give private_key = \"~/.ssh/id_ed25519\", or leave `agent` out"));
    }
    if let Some(private) = &ssh.private_key {
        let same = matches!(ssh.public_key.as_ref().map(|at| &at.value), Some(KeyText::File(path)) if path.0 == private.value.0);
        if same || private.value.0.ends_with(".pub") {
            let fault = Fault::new(Code::Login, "this is the public key; `private_key` names the other file of the pair");
            findings.error(&private.span, fault.help(format!("usually \"{}\"", private.value.0.trim_end_matches(".pub"))));
        }
    }
}

/// Whose AMI it is says nothing about its login user.
fn user(spec: &SpecFile, findings: &mut Findings) {
    if spec.ssh.as_ref().is_none_or(|ssh| ssh.value.user.is_some()) {
        return;
    }
    for image in spec.instance_group.iter().flat_map(|groups| groups.value.values()).filter_map(|keys| keys.image.as_ref()) {
        if matches!(image.value, Image::Ami(_)) {
            let fault = Fault::new(Code::User, "the login user of an AMI is not known");
            findings.error(&image.span, fault.help("give it in [ssh]: user = \"admin\""));
        }
    }
}

fn packages(spec: &SpecFile, findings: &mut Findings) {
    let Some(packages) = spec.packages.as_ref().map(|packages| &packages.value) else { return };
    let Some(source) = &packages.source else { return };
    let fault = |message: &str, help: &str| Fault::new(Code::Packages, message).help(help);
    if let (Some(key), None) = (&packages.signing_key, &packages.mirror) {
        findings.error(
            &key.span,
            fault(
                "the community's repository is signed by its own key",
                "leave `signing_key` out, or add the `mirror` that it signs",
            ),
        );
    }
    match source.value {
        Source::Apt => {
            if let Some(bundle) = &packages.bundle {
                findings.error(
                    &bundle.span,
                    fault("a bundle is given, but packages come from apt", "set source = \"bundle\", or leave `bundle` out"),
                );
            }
        }
        Source::Bundle => {
            if packages.bundle.is_none() {
                findings.error(&source.span, fault("the folder of the bundle is missing", "add bundle = \"path/of/folder\""));
            }
            if let Some(mirror) = &packages.mirror {
                findings.error(
                    &mirror.span,
                    fault("a mirror is given, but packages come from a bundle", "set source = \"apt\", or leave `mirror` out"),
                );
            }
        }
    }
}
