//! Which process is at the other end of a connection in the hub.

use std::fs;
use std::net::SocketAddr;

use rustix::process::Signal;

/// The process that holds the client's end of a loopback connection to `server`.
pub fn process(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let inode = inode(&fs::read_to_string("/proc/self/net/tcp").ok()?, client, server)?;
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let descriptors = fs::read_dir(entry.path().join("fd")).ok()?;
        let holds =
            descriptors.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|link| link.to_string_lossy() == wanted));
        (holds && pid != std::process::id()).then_some(pid)
    })
}

/// The socket of one connection in the kernel's table. The client's address alone does not tell it from others: the same port
/// may serve connections to several servers, those of the proxy itself among them.
fn inode(table: &str, client: SocketAddr, server: SocketAddr) -> Option<String> {
    let (client, server) = (in_table(client)?, in_table(server)?);
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = fields.get(1) == Some(&client.as_str()) && fields.get(2) == Some(&server.as_str());
        found.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port()))
}

pub fn signal_of(text: &str) -> Option<Signal> {
    Some(match text.trim_start_matches("SIG") {
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_socket_of_a_client() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:11D6 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n   \
                     1: 0100007F:B0C4 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 4710 1\n   \
                     2: 0100007F:B0C4 0100007F:11D6 01 00000000:00000000 00:00000000 00000000     0        0 4711 1\n";
        let inode = |client: &str| inode(table, client.parse().unwrap(), "127.0.0.1:4566".parse().unwrap());
        assert_eq!(inode("127.0.0.1:45252").as_deref(), Some("4711"));
        assert_eq!(inode("127.0.0.1:1"), None);
    }

    #[test]
    fn finds_this_machine_s_processes() {
        // the test's own process is not a client of itself
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(process(stream.local_addr().unwrap(), stream.peer_addr().unwrap()), None);
    }
}
