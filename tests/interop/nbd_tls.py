#!/usr/bin/env python3
# nbd_tls.py - servers with TLS: the one whose certificate is of the authority that was named is believed, and no other
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool. Certificates by openssl, servers by nbdkit.

import os
import socket
import subprocess

from qtool import arguments, need_tools, require, require_equal, run_cases

CONFIG = '''[req]
prompt = no
distinguished_name = name
[name]
CN = a test
[authority]
basicConstraints = critical,CA:TRUE
[server]
basicConstraints = CA:FALSE
subjectAltName = %s
'''
KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']


def make_authority(work, folder):
    os.mkdir(work.path(folder))
    with open(work.path('config'), 'w', encoding='utf-8') as f:
        f.write(CONFIG % 'DNS:nobody')
    work.run('openssl', 'req', '-x509', '-config', 'config', '-extensions', 'authority', *KEY,
             '-subj', '/CN=authority of ' + folder, '-keyout', folder + '/ca-key.pem', '-out', folder + '/ca-cert.pem')


def make_certificate(work, folder, names, of, who='server'):
    """A certificate for @names of the authority in folder @of, and that of the authority: of a server or a client."""
    os.mkdir(work.path(folder))
    with open(work.path('config'), 'w', encoding='utf-8') as f:
        f.write(CONFIG % names)
    work.run('openssl', 'req', '-x509', '-config', 'config', '-extensions', 'server', *KEY, '-subj', '/CN=' + who,
             '-CA', of + '/ca-cert.pem', '-CAkey', of + '/ca-key.pem',
             '-keyout', '%s/%s-key.pem' % (folder, who), '-out', '%s/%s-cert.pem' % (folder, who))
    os.link(work.path(of + '/ca-cert.pem'), work.path(folder + '/ca-cert.pem'))


class TlsKit:
    """nbdkit on a port of its own, open before it starts, with the certificate in @folder; None: without TLS."""

    def __init__(self, work, image, folder, *more):
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.log = work.path('kit.log')
        tls = ['--tls=require', '--tls-certificates=' + work.path(folder), *more] if folder else []
        words = ['-f', '-r', '-v', *tls, 'file', work.path(image)]
        script = 'exec 3<&%d; export LISTEN_FDS=1 LISTEN_PID=$$; exec nbdkit "$@"' % self.listener.fileno()
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(['bash', '-c', script, 'kit', *words], cwd=work.dir, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, pass_fds=[self.listener.fileno()])
        work.note('nbdkit ' + ' '.join(words) + ' &')

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.listener.close()
        self.process.terminate()
        self.process.wait()

    def uri(self, query='', host='localhost', scheme='nbds'):
        return '%s://%s:%d/%s' % (scheme, host, self.port, query)

    def has_served(self):
        require(self.process.poll() is None, 'nbdkit ended')
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return 'pread' in f.read()


def prepare(work):
    work.create('a.qcow2', '1M')
    for name in ('right', 'wrong'):
        make_authority(work, name)
    os.mkdir(work.path('empty'))
    make_certificate(work, 'good', 'DNS:localhost,IP:127.0.0.1', 'right')
    make_certificate(work, 'elsewhere', 'DNS:other.example', 'right')
    make_certificate(work, 'stranger', 'DNS:localhost,IP:127.0.0.1', 'wrong')


def folder(work, name):
    return '?tls-certificates=' + work.path(name).replace('/', '%2f')


def refused(work, uri, *says):
    work.qcbm_refused('info', '--no-lock', uri, says=says)


def who_is_known_is_believed(work):
    prepare(work)
    want = work.qcbm('bitmap', '--list', '--output=json', 'a.qcow2').out.replace('a.qcow2', 'IMAGE')
    with TlsKit(work, 'a.qcow2', 'good') as server:
        for uri in (server.uri(folder(work, 'right')), server.uri(folder(work, 'right') + '&', '127.0.0.1'),
                    server.uri('?tls-certificates=' + work.path('right')), server.uri('?tls-certificates=right')):
            result = work.qcbm('bitmap', '--list', '--no-lock', '--output=json', uri)
            require_equal(result.out.replace(uri, 'IMAGE'), want, 'through TLS')
        require(server.has_served(), 'nothing was read')


def nobody_else_is_believed(work):
    prepare(work)
    for name, says in (('stranger', 'erif'), ('elsewhere', 'erif')):
        with TlsKit(work, 'a.qcow2', name) as server:
            refused(work, server.uri(folder(work, 'right')), says)
            refused(work, server.uri(), 'nothing tells whose certificate|erif')
            refused(work, server.uri(folder(work, 'empty')), 'nothing tells whose certificate', 'empty')
            refused(work, server.uri(folder(work, 'none')), 'nothing tells whose certificate')
            require(not server.has_served(), name + ': something was read')
    with TlsKit(work, 'a.qcow2', 'good') as server:
        refused(work, server.uri(folder(work, 'wrong')), 'erif')
        refused(work, server.uri(), 'nothing tells whose certificate|erif')
        require(not server.has_served(), 'something was read')
    with TlsKit(work, 'a.qcow2', None) as server:
        refused(work, server.uri(folder(work, 'right')), 'TLS')
        require(not server.has_served(), 'something was read')


def servers_that_ask_who_we_are(work):
    prepare(work)
    make_certificate(work, 'client', 'DNS:anything', 'right', 'client')
    make_certificate(work, 'other', 'DNS:anything', 'wrong', 'client')
    os.unlink(work.path('other/ca-cert.pem'))
    os.link(work.path('right/ca-cert.pem'), work.path('other/ca-cert.pem'))
    with TlsKit(work, 'a.qcow2', 'good', '--tls-verify-peer') as server:
        refused(work, server.uri(folder(work, 'right')))
        refused(work, server.uri(folder(work, 'other')))
        require(not server.has_served(), 'something was read')
        work.qcbm('info', '--no-lock', server.uri(folder(work, 'client')))


def uris_that_would_not_be_looked_at(work):
    """A URI in which libnbd would find what is not found here is refused by libnbd."""
    prepare(work)
    with TlsKit(work, 'a.qcow2', 'stranger') as server:
        right, empty = work.path('right'), work.path('empty')
        for query, says in (('?tls-certificates=', 'names no folder'), ('?tls-certificates=%zz', 'names no folder'),
                            ('?tls-certificates=%0', 'names no folder'), ('?tls-certificates=%00x', 'names no folder'),
                            ('?tls%2dcertificates=' + empty, 'not allowed|nothing tells'),
                            ('?tls-certificates=' + right + '&tls-certificates=' + empty, 'not allowed'),
                            ('?tls-certificates=' + right + '&tls%2Dcertificates=' + empty, 'not allowed'),
                            ('?x=1;tls-certificates=' + empty, 'not allowed|nothing tells'),
                            ('#?tls-certificates=' + right, 'nothing tells|erif'),
                            ('?tls-psk-file=' + right, 'not supported'),
                            ('?tls-verify-peer=false', 'not supported'),
                            ('?a;tls-verify-peer=0', 'not supported'), ('?a%00&tls%2Dverify-peer=0', 'not supported')):
            refused(work, server.uri(query), says)
        refused(work, 'nbds+unix:///?socket=' + work.path('s') + '&tls-certificates=' + right, 'Unix socket')
        refused(work, server.uri(folder(work, 'right'), scheme='nbd'), 'no TLS')
        require(not server.has_served(), 'something was read')


def folders_of_the_user(work):
    """Where libnbd looks as well: in the home of a user, and for root in that of the system alone."""
    prepare(work)
    os.makedirs(work.path('.config/pki/libnbd'))
    os.link(work.path('right/ca-cert.pem'), work.path('.config/pki/libnbd/ca-cert.pem'))
    with TlsKit(work, 'a.qcow2', 'good') as server:
        home = ['env', 'HOME=' + work.dir, os.environ['QCBM'], 'info', '--no-lock', server.uri()]
        result = work.run(*home, rc=None)
        if os.geteuid() == 0:
            require(result.code == 1 and ('/etc/pki/libnbd' in result.err or 'erif' in result.err), result.err)
        else:
            require_equal(result.code, 0, result.err)
    with TlsKit(work, 'a.qcow2', 'stranger') as server:
        result = work.run('env', 'HOME=' + work.dir, os.environ['QCBM'], 'info', '--no-lock', server.uri(), rc=1)
        require(not server.has_served(), 'something was read: ' + result.err)


def main():
    args = arguments(__doc__ or 'nbd_tls')
    need_tools('nbdkit', 'openssl')
    run_cases(args, [(f, name, {}) for f, name in (
        (who_is_known_is_believed, 'believed'), (nobody_else_is_believed, 'nobody-else'),
        (servers_that_ask_who_we_are, 'client'), (uris_that_would_not_be_looked_at, 'queries'),
        (folders_of_the_user, 'home'))])


if __name__ == '__main__':
    main()
