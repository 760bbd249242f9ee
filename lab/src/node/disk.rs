//! A node's disk: an overlay on the base image, and what cloud-init would have written at first boot.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;

use crate::hub;
use crate::run;
use crate::world::Instance;

/// The users that the base image has, with their ids.
const USERS: [(&str, u32); 2] = [("admin", 1000), ("ubuntu", 1001)];

/// The folders of one node.
pub struct Disk {
    pub dir: PathBuf,
}

impl Disk {
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// On the machine's own file system: an overlay cannot hold another one's upper folder.
    pub fn containerd(&self) -> PathBuf {
        self.dir.join("containerd")
    }

    pub fn namespace(&self) -> PathBuf {
        self.dir.join("net")
    }

    pub fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    /// Writes the first boot's files once; a stopped instance keeps its disk.
    pub fn prepare(&self, instance: &Instance, images: Option<&Path>) -> Result<()> {
        for dir in [self.root(), self.upper(), self.dir.join("work"), self.containerd()] {
            fs::create_dir_all(dir)?;
        }
        let marker = self.dir.join("prepared");
        if marker.exists() {
            return Ok(());
        }
        self.names(instance)?;
        self.login(instance)?;
        self.host_keys(instance)?;
        self.user_data(instance)?;
        if let Some(images) = images {
            fs::remove_dir_all(self.containerd())?; // what an interrupted attempt left
            crate::kubernetes::link(images, &self.containerd()).context("linking images")?;
        }
        fs::write(marker, "")?;
        Ok(())
    }

    /// Puts the overlay together; the mount lives in the supervisor's own mount namespace.
    pub fn mount(&self, layer: &Path, base: &Path) -> Result<()> {
        if self.root().join("etc").exists() {
            return Ok(());
        }
        let options = format!(
            "lowerdir={}:{},upperdir={},workdir={}",
            layer.display(),
            base.display(),
            self.upper().display(),
            self.dir.join("work").display()
        );
        let options = std::ffi::CString::new(options)?;
        rustix::mount::mount("overlay", self.root(), "overlay", rustix::mount::MountFlags::empty(), Some(options.as_c_str()))
            .with_context(|| format!("mounting {}", self.root().display()))
    }

    pub fn remove(&self) -> Result<()> {
        rustix::mount::unmount(self.root(), rustix::mount::UnmountFlags::DETACH).ok();
        fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()))
    }

    fn names(&self, instance: &Instance) -> Result<()> {
        let host = host_name(instance);
        self.write("etc/hostname", 0o644, &format!("{host}\n"))?;
        self.write(
            "etc/hosts",
            0o644,
            &format!("127.0.1.1 {host}.ec2.internal {host}\n127.0.0.1 localhost\n::1 localhost ip6-localhost\n"),
        )?;
        self.write("etc/resolv.conf", 0o644, &format!("nameserver {}\nsearch ec2.internal\n", hub::DNS))?;
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        self.write("etc/machine-id", 0o444, &uuid.replace('-', ""))
    }

    fn login(&self, instance: &Instance) -> Result<()> {
        let Some((user, id)) = USERS.iter().find(|(name, _)| *name == instance.login_user) else {
            anyhow::bail!("the base image has no user {}", instance.login_user);
        };
        let home = self.upper().join("home").join(user);
        fs::create_dir_all(self.upper().join("home"))?;
        for dir in [home.clone(), home.join(".ssh")] {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
            chown(&dir, Some(*id), Some(*id))?;
        }
        let keys = instance.public_key.clone().unwrap_or_default();
        self.write(&format!("home/{user}/.ssh/authorized_keys"), 0o600, &format!("{}\n", keys.trim()))?;
        chown(home.join(".ssh/authorized_keys"), Some(*id), Some(*id))?;
        self.write("etc/sudoers.d/90-cloud-init-users", 0o440, &format!("{user} ALL=(ALL) NOPASSWD:ALL\n"))
    }

    fn host_keys(&self, instance: &Instance) -> Result<()> {
        let ssh = self.upper().join("etc/ssh");
        fs::create_dir_all(&ssh)?;
        let comment = format!("root@{}", host_name(instance));
        for kind in ["ecdsa", "ed25519"] {
            let file = ssh.join(format!("ssh_host_{kind}_key"));
            run::output("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", &comment, "-f", &file.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Where cloud-init leaves it; there is no cloud-init in a node, so nothing runs it.
    fn user_data(&self, instance: &Instance) -> Result<()> {
        let base = "var/lib/cloud";
        self.write(&format!("{base}/data/instance-id"), 0o644, &format!("{}\n", instance.id))?;
        if let Some(text) = &instance.user_data {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
            self.write_bytes(&format!("{base}/instances/{}/user-data.txt", instance.id), 0o600, &bytes)?;
        }
        let link = self.upper().join(base).join("instance");
        std::os::unix::fs::symlink(format!("instances/{}", instance.id), link)?;
        Ok(())
    }

    fn write(&self, path: &str, mode: u32, text: &str) -> Result<()> {
        self.write_bytes(path, mode, text.as_bytes())
    }

    fn write_bytes(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let path = self.upper().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&path)?;
        file.write_all(bytes)?;
        Ok(())
    }
}

/// The name that EC2 gives a machine from its private address.
pub fn host_name(instance: &Instance) -> String {
    let address = instance.private_ip.map(|ip| ip.to_string()).unwrap_or_default();
    format!("ip-{}", address.replace('.', "-"))
}
