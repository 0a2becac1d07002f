"""django-oauth-toolkit on the loopback, with its tables in memory."""

import os
from wsgiref.simple_server import make_server

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    OAUTH2_PROVIDER={"SCOPES": {"read": "to read", "write": "to write"}},
    ROOT_URLCONF=__name__,
    SECRET_KEY="a key that protects nothing",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from oauth2_provider.models import AccessToken, RefreshToken, get_application_model  # noqa: E402
from oauth2_provider.views import TokenView  # noqa: E402

urlpatterns = [path("token", TokenView.as_view())]

call_command("migrate", verbosity=0)
Application = get_application_model()
for client_id, secret in [("judge: odd/1", "p%+&: s"), ("judge-post", "p%+&: s")]:
    Application.objects.create(
        client_id=client_id,
        client_secret=secret,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
    )
# What a person has allowed once. A refresh token can be used once.
integration = Application.objects.create(
    client_id="judge-refresh",
    client_secret="s3cret",
    client_type=Application.CLIENT_CONFIDENTIAL,
    authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
    redirect_uris="https://client.example.com/callback",
)
granted = {"user": get_user_model().objects.create_user("ada"), "application": integration}
RefreshToken.objects.create(
    token="the-first-refresh-token",
    access_token=AccessToken.objects.create(
        token="the-first", scope="read", expires=timezone.now(), **granted
    ),
    **granted,
)
make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application()).serve_forever()
