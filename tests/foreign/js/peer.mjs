// A js-libp2p node as a server and client of the public DHT, for the tests.
//
//   node peer.mjs IP PORT
//
// Prints "ready PEERID" when it listens, then obeys lines of standard input, each answered with one line
// that begins with "= ":
//
//   dial ADDRESS         connects, and waits until the routing table has the peer: "ok"
//   get KEY              the record with this key (hexadecimal) that the IPNS validator takes: hexadecimal, or "none"
//   put KEY VALUE        puts a record: how many peers took it
//   provide MULTIHASH    announces itself: "ok"
//   providers MULTIHASH  who announced themselves: JSON [{"id": PEERID, "addresses": [...]}]
//
// It ends with its standard input.
import { createInterface } from 'node:readline'
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ipnsSelector } from 'ipns/selector'
import { ipnsValidator } from 'ipns/validator'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { multiaddr } from '@multiformats/multiaddr'

const [ip, port] = process.argv.slice(2)
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'))
const hex = (value) => Buffer.from(value).toString('hex')
const cid = (multihash) => CID.createV1(0x55, Digest.decode(bytes(multihash)))

const node = await createLibp2p({
  // What it announces in the DHT: nobody tests here whether it can be reached.
  addresses: { listen: [`/ip4/${ip}/tcp/${port}`], announce: [`/ip4/${ip}/tcp/${port}`] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({
      protocol: '/ipfs/kad/1.0.0',
      clientMode: false,
      peerInfoMapper: passthroughMapper,
      allowQueryWithZeroPeers: true,
      validators: { ipns: ipnsValidator },
      selectors: { ipns: ipnsSelector }
    })
  }
})
const dht = node.services.dht

const commands = {
  async dial (address) {
    const target = multiaddr(address)
    await node.dial(target)
    const until = Date.now() + 10_000
    while (dht.routingTable.size === 0) {
      if (Date.now() > until) throw new Error('the peer never entered the routing table')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return 'ok'
  },
  async get (key) {
    let newest
    for await (const event of dht.get(bytes(key))) {
      if (event.name === 'VALUE') newest = event.value
    }
    return newest === undefined ? 'none' : hex(newest)
  },
  async put (key, value) {
    let taken = 0
    for await (const event of dht.put(bytes(key), bytes(value))) {
      if (event.name === 'PEER_RESPONSE' && event.messageName === 'PUT_VALUE') taken++
    }
    return `${taken}`
  },
  async provide (multihash) {
    for await (const _ of dht.provide(cid(multihash))) { /* until it has ended */ }
    return 'ok'
  },
  async providers (multihash) {
    const found = new Map()
    for await (const event of dht.findProviders(cid(multihash))) {
      if (event.name !== 'PROVIDER') continue
      for (const provider of event.providers) {
        found.set(provider.id.toString(), provider.multiaddrs.map((address) => address.toString()))
      }
    }
    return JSON.stringify([...found].map(([id, addresses]) => ({ id, addresses })))
  }
}

console.log('ready', node.peerId.toString())
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = line.trim().split(' ')
  try {
    console.log('=', await commands[name](...args))
  } catch (error) {
    console.log('= error', String(error).replaceAll('\n', ' '))
  }
}
process.exit(0)
