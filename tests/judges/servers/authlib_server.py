"""An authorization server of Authlib on the loopback. It takes one method per client."""

import json
import os
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
ISSUER = f"http://127.0.0.1:{os.environ['PORT']}"
with open(os.environ["KEYS"]) as file:
    KEYS = json.load(file)
SECRET = "a secret of thirty-two bytes or more"


class Client(ClientMixin):
    def __init__(self, client_id, method, secret=None, key=None):
        self.client_id, self.method, self.secret, self.key = client_id, method, secret, key

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return " ".join(s for s in (scope or "").split() if s in ("read", "write"))

    def check_redirect_uri(self, redirect_uri):
        return False

    def check_client_secret(self, client_secret):
        return self.secret == client_secret

    def check_endpoint_auth_method(self, method, endpoint):
        return self.method == method

    def check_grant_type(self, grant_type):
        return True

    def check_response_type(self, response_type):
        return False


CLIENTS = [
    Client("judge-basic", "client_secret_basic", "s3cret"),
    Client("judge-post", "client_secret_post", "p%+&: s"),
    Client("judge-HS256", "client_assertion_jwt", key=OctKey.import_key(SECRET)),
    *(
        Client(f"judge-{alg}", "client_assertion_jwt", key=KeySet.import_key_set({"keys": [key]}))
        for alg, key in KEYS.items()
    ),
]
CLIENTS = {client.client_id: client for client in CLIENTS}


class Assertion(JWTBearerClientAssertion):
    seen = set()

    def get_audiences(self):
        return [ISSUER]

    def process_assertion_claims(self, assertion, resolve_key):
        # Without a list, joserfc takes none but RS256, ES256 and HS256.
        algorithms = ["HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"]
        token = jwt.decode(assertion, resolve_key, algorithms=algorithms)
        self.verify_claims(token.claims)
        return token.claims

    def validate_jti(self, claims, jti):
        is_new = jti not in self.seen
        self.seen.add(jti)
        return is_new

    def resolve_client_public_key(self, client):
        return client.key


class Bearer(JWTBearerGrant):
    def get_audiences(self):
        return [ISSUER, f"{ISSUER}/token"]

    def resolve_issuer_client(self, issuer):
        return CLIENTS.get(issuer)

    def resolve_client_public_key(self, client):
        return client.key

    def authenticate_user(self, subject):
        return subject

    def has_granted_permission(self, client, user):
        return True


class Granted:
    """What a person has allowed once."""

    def check_client(self, client):
        return client.client_id == "judge-basic"

    def get_scope(self):
        return "read"


REFRESH_TOKENS = {"the-first-refresh-token": Granted()}


class Refresh(grants.RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        # It can be used once.
        return REFRESH_TOKENS.pop(refresh_token, None)

    def authenticate_user(self, credential):
        return "ada"

    def revoke_old_credential(self, credential):
        pass


def save_token(token, request):
    if "refresh_token" in token:
        REFRESH_TOKENS[token["refresh_token"]] = Granted()


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = [
        "client_secret_basic", "client_secret_post", "client_assertion_jwt",
    ]


app = Flask(__name__)
app.config["OAUTH2_SCOPES_SUPPORTED"] = ["read", "write"]
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
server = AuthorizationServer(app, query_client=CLIENTS.get, save_token=save_token)
server.register_client_auth_method("client_assertion_jwt", Assertion())
server.register_grant(ClientCredentials)
server.register_grant(Bearer)
server.register_grant(Refresh)


@app.post("/token")
def token():
    return server.create_token_response()


app.run("127.0.0.1", int(os.environ["PORT"]))
