{{- define "speaker.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "speaker.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "speaker.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 54 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "speaker.selector" -}}
app.kubernetes.io/name: {{ include "speaker.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "speaker.labels" -}}
app.kubernetes.io/name: {{ include "speaker.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "speaker.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "speaker.configMap" -}}
{{- .Values.existingConfigMap | default (include "speaker.fullname" .) -}}
{{- end -}}

{{/* speaker.yaml of the agents: what is given, over what a cluster needs. */}}
{{- define "speaker.agentConfig" -}}
{{- $defaults := dict
  "sources" (dict "kubernetes" (dict "enabled" true))
  "ipam" (dict "stateDir" .Values.agent.stateDir)
  "api" (dict "socket" (printf "%s/api.sock" .Values.agent.runDir) "http" (printf "127.0.0.1:%d" (int .Values.agent.healthPort))) -}}
{{- toYaml (mergeOverwrite $defaults (deepCopy .Values.config)) -}}
{{- end -}}

{{/* speaker.yaml of the operator. */}}
{{- define "speaker.operatorConfig" -}}
{{- $given := deepCopy (.Values.operator.config | default .Values.config) -}}
{{- $own := dict "api" (dict "socket" "/run/speaker/api.sock" "http" (printf "0.0.0.0:%d" (int .Values.operator.port))) "ipam" (dict "stateDir" "/run/speaker/state") "sources" (dict "kubernetes" (dict "enabled" true)) -}}
{{- toYaml (mergeOverwrite $given $own) -}}
{{- end -}}

{{/* Whether some socket has a privileged port, of router.listen or by word: "true" or nothing. */}}
{{- define "speaker.listensLow" -}}
{{- if .Values.agent.lowPorts }}true{{ end -}}
{{- range (dig "router" "listen" list .Values.config) -}}
{{- if lt (regexFind "[0-9]+$" . | int) 1024 }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- define "speaker.apiServerEnv" -}}
{{- with .Values.apiServer.host -}}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $.Values.apiServer.port | quote }}
{{- end }}
{{- end -}}
