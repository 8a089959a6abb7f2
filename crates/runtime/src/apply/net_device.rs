//! Moves a network device into the container, with what it has.
//!
//! Spec: config-linux.md "Network Devices". The kernel keeps a device's hardware address and MTU, and takes its addresses away:
//! those that somebody set and that mean something outside of this machine are given back there.

use std::os::fd::OwnedFd;

use knarr_sys::rtnetlink::{Link, Route};
use knarr_sys::{Errno, Error, Result};

/// Off, moved and named at once, so that no name is taken in between; then its addresses, then on.
pub(crate) fn relocate(name: &str, to: &str, namespace: &OwnedFd, own: &OwnedFd) -> Result<()> {
    let mut here = Route::open()?;
    let link = named(&mut here, name)?;
    // Before it is off: that alone takes the addresses of IPv6 away.
    let addresses = here.addresses(&link)?;
    here.set_up(&link, false)?;
    let mut there = Route::open_in(namespace, own)?;
    let before = there.links()?;
    if before.iter().any(|other| other.name == to) {
        return Err(Error::new(format!("RTM_NEWLINK({name}, net_ns_fd, ifname={to:?})"), Errno::EXIST));
    }
    here.move_to(&link, namespace, to)?;
    let moved = arrived(&before, there.links()?, &link, to)?;
    for address in addresses.iter().filter(|address| address.permanent() && address.global()) {
        there.add_address(&moved, address)?;
    }
    there.set_up(&moved, true)
}

fn named(route: &mut Route, name: &str) -> Result<Link> {
    let found = route.links()?.into_iter().find(|link| link.name == name);
    found.ok_or_else(|| Error::new(format!("RTM_GETLINK({name})"), Errno::NODEV))
}

/// By its name, or where the kernel made that up, as the one that was not there before.
fn arrived(before: &[Link], after: Vec<Link>, link: &Link, to: &str) -> Result<Link> {
    let new = |other: &&Link| !before.iter().any(|old| old.index == other.index) && other.address == link.address;
    let found = after.iter().find(|other| other.name == to).or_else(|| after.iter().find(new)).cloned();
    found.ok_or_else(|| Error::new(format!("RTM_GETLINK({to})"), Errno::NODEV))
}
