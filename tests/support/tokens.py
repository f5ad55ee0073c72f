#!/usr/bin/env python3
"""Makes keys and tokens, good and forged ones, with PyJWT.

    tokens.py DIR              writes DIR/jwks.json, rotated.json, twice.json, secret, rsa.pem; prints {name: token}
    tokens.py DIR SECONDS      prints a good token of DIR/rsa.pem that ends in so many seconds
"""
import base64
import hashlib
import hmac
import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = int(time.time())


def claims(**changed):
    made = {"iss": "https://id.test", "aud": "ingestd", "exp": NOW + 3600, "tenant": "shop", "scope": "intake read"}
    made.update(changed)
    return {name: value for name, value in made.items() if value is not None}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header, payload, sign):
    """What PyJWT refuses to make."""
    message = b64(json.dumps(header).encode()) + "." + b64(json.dumps(payload).encode())
    return message + "." + b64(sign(message.encode()))


def hs256(secret):
    return lambda message: hmac.new(secret, message, hashlib.sha256).digest()


def public(algorithm, key, kid):
    made = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig"}


def expiring(folder, seconds):
    pem = (folder / "rsa.pem").read_bytes()
    print(jwt.encode(claims(exp=NOW + seconds), pem, "RS256", headers={"kid": "rsa"}))


def everything(folder):
    rsa_key, other_rsa = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    ec_key, other_ec = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ed_key = ed25519.Ed25519PrivateKey.generate()
    oct_secret, secret = b"o" * 40, b"a secret that only the issuer and the daemon know"
    rsa_jwk = public(RSAAlgorithm, rsa_key, "rsa")
    others = [
        public(ECAlgorithm, ec_key, "ec"),
        public(OKPAlgorithm, ed_key, "ed"),
        {**HMACAlgorithm.to_jwk(oct_secret, as_dict=True), "kid": "oct"},
    ]
    for name, keys in {
        "jwks.json": [rsa_jwk, *others],
        "rotated.json": [public(RSAAlgorithm, other_rsa, "rsa-2"), *others],
        "twice.json": [rsa_jwk, *others, public(ECAlgorithm, other_ec, "rsa")],
    }.items():
        (folder / name).write_text(json.dumps({"keys": keys}))
    (folder / "secret").write_bytes(secret + b"\n")
    pem = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = rsa_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    modulus = base64.urlsafe_b64decode(rsa_jwk["n"] + "==")
    (folder / "rsa.pem").write_bytes(rsa_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def rs256(payload, kid="rsa", key=rsa_key, **header):
        return jwt.encode(payload, key, "RS256", headers={"kid": kid, **header})

    good = rs256(claims())
    head, payload, signature = good.split(".")
    attacker = public(RSAAlgorithm, other_rsa, "rsa")
    hs_header = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    return {
        "rs256": good,
        "es256": jwt.encode(claims(), ec_key, "ES256", headers={"kid": "ec"}),
        "eddsa": jwt.encode(claims(), ed_key, "EdDSA", headers={"kid": "ed"}),
        "hs256": jwt.encode(claims(), secret, "HS256"),
        "hs256_jwks": jwt.encode(claims(), oct_secret, "HS256", headers={"kid": "oct"}),
        "audiences": rs256(claims(aud=["other", "ingestd"], scope=["intake"], nbf=NOW - 10)),
        "other_tenant": rs256(claims(tenant="other")),
        "managing": rs256(claims(sub="anna@shop.test", scope="intake manage")),
        "managing_shop": rs256(claims(scope="intake read manage")),
        "managing_other": rs256(claims(tenant="other", scope="intake read manage")),
        "just_expired": rs256(claims(exp=NOW - 5)),
        "rotated": rs256(claims(), "rsa-2", other_rsa),
        "no_scope": rs256(claims(scope=None)),
        "read_scope": rs256(claims(scope="read profile intake-not")),
        "bad_confused_pem": by_hand(hs_header, claims(), hs256(pem)),
        "bad_confused_der": by_hand(hs_header, claims(), hs256(der)),
        "bad_confused_modulus": by_hand(hs_header, claims(), hs256(modulus)),
        "bad_confused_no_kid": by_hand({"alg": "HS256"}, claims(), hs256(pem)),
        "bad_none": jwt.encode(claims(), None, "none", headers={"kid": "rsa"}),
        "bad_none_spelled": by_hand({"alg": "nOnE", "kid": "rsa"}, claims(), lambda _: b""),
        "bad_none_signed": by_hand({"alg": "none", "kid": "rsa"}, claims(), lambda _: base64.urlsafe_b64decode(signature + "==")),
        "bad_no_signature": f"{head}.{payload}.",
        "bad_expired": rs256(claims(exp=NOW - 3600)),
        "bad_not_yet": rs256(claims(nbf=NOW + 3600)),
        "bad_audience": rs256(claims(aud="somebody-else")),
        "bad_audiences": rs256(claims(aud=["a", "b"])),
        "bad_issuer": rs256(claims(iss="https://elsewhere.test")),
        "bad_issuer_list": by_hand_rs256(rsa_key, claims(iss=["https://id.test"])),
        "bad_issuers": by_hand_rs256(rsa_key, claims(iss=["https://elsewhere.test", "https://id.test"])),
        "bad_no_exp": rs256(claims(exp=None)),
        "bad_no_aud": rs256(claims(aud=None)),
        "bad_no_iss": rs256(claims(iss=None)),
        "bad_exp_text": by_hand_rs256(rsa_key, claims(exp="tomorrow")),
        "bad_nbf_text": by_hand_rs256(rsa_key, claims(nbf="yesterday")),
        "bad_tampered": f"{head}.{b64(json.dumps(claims(tenant='other')).encode())}.{signature}",
        "bad_signature": f"{head}.{payload}.{'A' * 8}{signature[8:]}",
        "bad_unknown_kid": rs256(claims(), "nobody"),
        "bad_no_kid": jwt.encode(claims(), rsa_key, "RS256"),
        "bad_reused_kid": jwt.encode(claims(), other_ec, "ES256", headers={"kid": "rsa"}),
        "bad_reused_kid_same_type": rs256(claims(), "rsa", other_rsa),
        "bad_kid_of_another": rs256(claims(), "ec"),
        "bad_own_key": rs256(claims(), "rsa", other_rsa, jwk=attacker),
        "bad_key_url": rs256(claims(), "rsa", other_rsa, jku="http://127.0.0.1:1/jwks.json"),
        "bad_ps256": jwt.encode(claims(), rsa_key, "PS256", headers={"kid": "rsa"}),
        "bad_rs512": jwt.encode(claims(), rsa_key, "RS512", headers={"kid": "rsa"}),
        "bad_critical": rs256(claims(), crit=["exp"]),
        "bad_no_tenant": rs256(claims(tenant=None)),
        "bad_tenant_name": rs256(claims(tenant="../Shop")),
        "bad_tenant_list": rs256(claims(tenant=["shop"])),
        "bad_oversized": rs256(claims(filler="x" * 6000)),
        "bad_four_parts": good + ".x",
        "bad_two_parts": f"{head}.{payload}",
        "bad_text": "nonsense",
    }


def by_hand_rs256(key, payload):
    """Claims of types that PyJWT does not let pass."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    header = {"alg": "RS256", "typ": "JWT", "kid": "rsa"}
    return by_hand(header, payload, lambda message: key.sign(message, padding.PKCS1v15(), hashes.SHA256()))


if __name__ == "__main__":
    place = pathlib.Path(sys.argv[1])
    if len(sys.argv) > 2:
        expiring(place, int(sys.argv[2]))
    else:
        print(json.dumps(everything(place)))
