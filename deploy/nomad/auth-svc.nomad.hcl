# auth-svc with Outrider beside it, in one network namespace of a Nomad group; both are found in Consul.
#   nomad job run auth-svc.nomad.hcl
# The sidecar registers the service itself, with the port that Nomad gave it, and says how the service is; so there is no service block here.
# Certificates come from Vault's PKI; its role has to allow the name auth-svc.
job "auth-svc" {
  type = "service"

  update {
    max_parallel      = 1
    health_check      = "task_states"
    min_healthy_time  = "5s"
    healthy_deadline  = "2m"
    progress_deadline = "5m"
    auto_revert       = true
  }

  group "auth-svc" {
    count = 2

    network {
      mode = "bridge"
      # mTLS from peers; the same number inside and outside, since it is what the sidecar registers.
      port "grpc" {}
      # For Prometheus, which finds it in the metadata of the registration.
      port "admin" {}
    }

    task "outrider" {
      driver = "docker"

      # Started before the service, ended after it.
      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        image           = "outrider:0.1.0"
        ports           = ["grpc", "admin"]
        readonly_rootfs = true
        cap_drop        = ["ALL"]
        security_opt    = ["no-new-privileges"]
      }

      env {
        SERVICE_NAME       = "auth-svc"
        SERVICE_ADDRESS    = "${attr.unique.network.ip-address}"
        GRPC_PORT          = "${NOMAD_PORT_grpc}"
        ADMIN_PORT         = "${NOMAD_PORT_admin}"
        ADMIN_ADDRESS      = "0.0.0.0"
        LOCAL_SERVICE_PORT = "8080"
        CONSUL_HTTP_ADDR   = "http://${attr.unique.network.ip-address}:8500"
        POLICY_CONSUL_KV   = "outrider/policies/"
        CA_CERT_PATH       = "${NOMAD_SECRETS_DIR}/ca.crt"
        CLIENT_CERT_PATH   = "${NOMAD_SECRETS_DIR}/service.crt"
        CLIENT_KEY_PATH    = "${NOMAD_SECRETS_DIR}/service.key"
        STARTUP_WAIT       = "60s"
      }

      vault {}

      # One answer of Vault in three files; the sidecar takes up new ones by itself.
      template {
        destination = "${NOMAD_SECRETS_DIR}/service.crt"
        change_mode = "noop"
        perms       = "0640"
        uid         = 1000
        gid         = 1000
        data        = <<-EOT
          {{ with pkiCert "pki/issue/mesh" "common_name=auth-svc" "alt_names=auth-svc,localhost" "uri_sans=spiffe://mesh.local/service/auth-svc" "ttl=72h" -}}
          {{ .Cert }}{{ .Key | writeToFile (printf "%s/service.key" (env "NOMAD_SECRETS_DIR")) "1000" "1000" "0640" }}{{ .CA | writeToFile (printf "%s/ca.crt" (env "NOMAD_SECRETS_DIR")) "1000" "1000" "0644" }}
          {{- end }}
        EOT
      }

      # Longer than DRAIN_TIMEOUT (30s): SIGTERM takes it out of the catalogue, finishes what it has accepted, and ends it.
      kill_timeout = "40s"

      resources {
        cpu    = 100
        memory = 128
      }
    }

    task "auth-svc" {
      driver = "docker"

      # Nomad ends it before its sidecar, which tells the catalogue within a second that it is gone, and sends calls that it could not hand over
      # back as unseen: the sidecars of their callers try them at another instance.
      kill_timeout = "10s"

      config {
        image = "aivo/auth-svc:latest"
        # It listens on loopback, so that there is no way to it but through the sidecar, and calls others at 127.0.0.1:15001.
        args = ["--listen", "127.0.0.1:8080", "--mesh", "127.0.0.1:15001"]
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
