//! A lab from the command line: sites by name, and words that change them while it runs.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::link::Conditions;
use super::net::SiteId;
use super::site::Kind;
use super::{Host, Lab};

/// A site as described: `NAME=KIND[,delay=MS][,jitter=MS][,loss=%][,reorder=%][,duplicate=%][,rate=KBIT]`.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name, and that of its host.
    pub name: String,
    /// What is between it and the public network.
    pub kind: Kind,
    conditions: Vec<(String, f64)>,
}

impl std::str::FromStr for Description {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').context("a site is NAME=KIND[,delay=MS][,loss=%]…")?;
        let mut parts = rest.split(',');
        let kind = parts.next().unwrap_or_default().parse()?;
        let conditions = parts.map(condition).collect::<Result<_>>()?;
        // Says now what would be wrong later.
        apply(Conditions::default(), &conditions)?;
        Ok(Self { name: name.to_owned(), kind, conditions })
    }
}

fn condition(part: &str) -> Result<(String, f64)> {
    let (key, value) = part.split_once('=').with_context(|| format!("{part:?} is not key=number"))?;
    Ok((key.to_owned(), value.parse().with_context(|| format!("{value:?} is no number"))?))
}

fn apply(mut to: Conditions, conditions: &Vec<(String, f64)>) -> Result<Conditions> {
    let millis = |value: f64| Duration::try_from_secs_f64(value / 1e3).context("no such time");
    for (key, value) in conditions {
        match key.as_str() {
            "delay" => to.delay = millis(*value)?,
            "jitter" => to.jitter = millis(*value)?,
            "loss" => to.loss = (value / 100.0).clamp(0.0, 1.0),
            "reorder" => to.reorder = (value / 100.0).clamp(0.0, 1.0),
            "duplicate" => to.duplicate = (value / 100.0).clamp(0.0, 1.0),
            "rate" => to.rate = (*value > 0.0).then_some((value * 1e3) as u64),
            other => bail!("{other:?}: there are delay, jitter (ms), loss, reorder, duplicate (%), rate (kbit/s)"),
        }
    }
    Ok(to)
}

/// A running lab with names.
#[derive(Debug)]
pub struct Topology {
    /// The lab.
    pub lab: Lab,
    /// Sites by name, each with its host.
    pub sites: Vec<(String, SiteId, Host)>,
}

/// The words of [`Topology::command`].
pub const WORDS: &str = "\
  cut SITE / join SITE          nothing passes its uplink, nobody is told / as before
  forget SITE                   its NATs and firewalls forget all mappings
  readdress SITE                its NAT gets another public address
  lease SITE                    its host gets another address at the same site
  move HOST SITE                its host moves to another site (Wi-Fi to cable)
  unplug HOST / plug HOST       its interface goes down / comes up with the same addresses
  uplink SITE key=number …      delay, jitter (ms), loss, reorder, duplicate (%), rate (kbit/s; 0: none)
  nat SITE                      what its NATs have mapped
  list                          sites, addresses, counters";

impl Topology {
    /// Builds the sites.
    pub fn build(lab: Lab, descriptions: &[Description]) -> Result<Self> {
        let mut sites = Vec::new();
        for description in descriptions {
            let id = lab.site(description.kind.clone())?;
            lab.set_uplink(id, apply(lab.uplink(), &description.conditions)?);
            sites.push((description.name.clone(), id, lab.host(id)?));
        }
        Ok(Self { lab, sites })
    }

    /// The site and host of a name.
    pub fn find(&self, name: &str) -> Result<(SiteId, &Host)> {
        let found = self.sites.iter().find(|(known, _, _)| known == name);
        found.map(|(_, id, host)| (*id, host)).with_context(|| format!("no site is called {name:?}"))
    }

    /// Does what a line says (see [`WORDS`]); gives back what there is to show.
    pub fn command(&self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let lab = &self.lab;
        match words.as_slice() {
            ["list"] => return Ok(self.list()),
            ["cut", site] => lab.cut(self.find(site)?.0, true),
            ["join", site] => lab.cut(self.find(site)?.0, false),
            ["forget", site] => lab.forget(self.find(site)?.0),
            ["readdress", site] => return Ok(lab.readdress(self.find(site)?.0)?.to_string()),
            ["nat", site] => return Ok(lab.mappings(self.find(site)?.0).join("\n")),
            ["lease", site] => self.find(site)?.1.readdress()?,
            ["move", host, site] => self.find(host)?.1.move_to(self.find(site)?.0)?,
            ["unplug", host] => self.find(host)?.1.unplug()?,
            ["plug", host] => self.find(host)?.1.plug()?,
            ["uplink", site, conditions @ ..] => {
                let id = self.find(site)?.0;
                let now = lab.with_site(id, |site| site.up.conditions());
                let conditions = conditions.iter().map(|part| condition(part)).collect::<Result<_>>()?;
                lab.set_uplink(id, apply(now, &conditions)?);
            }
            _ => bail!("not understood; there are:\n{WORDS}"),
        }
        Ok("done".to_owned())
    }

    fn list(&self) -> String {
        let mut text = String::new();
        for (name, id, host) in &self.sites {
            let addresses: Vec<String> = host.addresses().iter().map(ToString::to_string).collect();
            let line = self.lab.with_site(*id, |site| {
                let nats: Vec<String> = site.nats.iter().map(|nat| nat.address().to_string()).collect();
                let behind = if nats.is_empty() { String::new() } else { format!(" behind {}", nats.join(", ")) };
                format!(
                    "{name}: {}{}, {}{behind}; out {} packets, in {}, lost {}, refused {}\n",
                    site.kind,
                    if site.cut { " (cut off)" } else { "" },
                    addresses.join(" "),
                    site.up.packets,
                    site.down.packets,
                    site.up.lost + site.down.lost,
                    site.refused,
                )
            });
            text += &line;
        }
        text.trim_end().to_owned()
    }
}
