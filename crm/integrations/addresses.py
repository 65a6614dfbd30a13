"""Internet addresses: which belong to somebody's inner network, which to one sender."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address


def forbidden_reason(address: str) -> str | None:
    """Why a numeric address may not be visited, in Russian; None for an ordinary public one."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "неизвестный адрес"
    inner = _embedded(ip)
    return _reason(inner) if inner is not None else _reason(ip)


def holder(address: str) -> str:
    """What attempts of one sender are counted by: of IPv6 the network that every customer has.

    An IPv4 address written as an IPv6 one is the same sender; other texts stay as they are.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or IPv6Network((ip, 64), strict=False))


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one wraps: mapped, 6to4."""
    return None if isinstance(ip, IPv4Address) else ip.ipv4_mapped or ip.sixtofour


def _reason(ip: IPv4Address | IPv6Address) -> str | None:
    if ip.is_loopback:
        return "этот же компьютер"
    if ip.is_link_local:
        return "локальный адрес канала"
    if ip.is_multicast:
        return "групповой адрес"
    if ip.is_reserved or ip.is_unspecified:
        return "служебный адрес"
    if isinstance(ip, IPv6Address) and (ip.is_site_local or ip.teredo is not None):
        return "служебный адрес"
    # Also carrier-grade NAT (100.64.0.0/10), which is neither private nor global.
    return None if ip.is_global else "частный адрес"
