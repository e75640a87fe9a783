{{- /* The image of a process: (list . "gateway"). A digest stands in place of the tag. */ -}}
{{- define "millrace.image" -}}
{{- $root := first . -}}
{{- $image := printf "%s/%s" $root.Values.image.repository (last .) -}}
{{- with index $root.Values.image.digests (last .) -}}
{{ $image }}@{{ . }}
{{- else -}}
{{ $image }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Where and as whom a pod runs: (list . .Values.gateway). */ -}}
{{- define "millrace.placement" -}}
{{- $root := first . -}}
{{- $process := last . -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- {name: {{ . | quote }}}
{{- end }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $process $field }}
{{ $field }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The Secret that has a URL with a password in it: (list "millrace-store" .Values.store.existingSecret). */ -}}
{{- define "millrace.secret" -}}
{{ last . | default (first .) }}
{{- end -}}

{{- define "millrace.labels" -}}
app.kubernetes.io/part-of: millrace
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "millrace.storeSecret" -}}
{{ include "millrace.secret" (list "millrace-store" .Values.store.existingSecret) }}
{{- end -}}

{{- /* The file of bearer tokens: the variable that names it, where it is mounted, and what it is of. */ -}}
{{- define "millrace.tokenEnv" -}}
{{- if .Values.auth.existingSecret }}
- {name: MILLRACE_TOKEN_FILE, value: /var/millrace/token/tokens}
{{- end }}
{{- end -}}
{{- define "millrace.tokenMount" -}}
{{- if .Values.auth.existingSecret }}
- {name: token, mountPath: /var/millrace/token, readOnly: true}
{{- end }}
{{- end -}}
{{- define "millrace.tokenVolume" -}}
{{- with .Values.auth.existingSecret }}
- {name: token, secret: {secretName: {{ . | quote }}}}
{{- end }}
{{- end -}}

{{- /*
Annotations of a process's pods: (list .Values.gateway .Values.store.url). The URL, empty where a Secret of the user's has
it, is what the pods read of a Secret of the chart's, so they are replaced when it changes.
*/ -}}
{{- define "millrace.podAnnotations" -}}
{{- $url := last . -}}
{{- if or $url (first .).podAnnotations }}
annotations:
  {{- with $url }}
  checksum/secret: {{ sha256sum . }}
  {{- end }}
  {{- with (first .).podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* Whether the registry's database is a file on a volume of the chart's. */ -}}
{{- define "millrace.registryOnVolume" -}}
{{- if not (or .Values.registry.databaseUrl .Values.registry.existingSecret) }}yes{{ end -}}
{{- end -}}

{{- /* Resources as JSON, each amount as text, which a value may give as a number. */ -}}
{{- define "millrace.amounts" -}}
{{- $resources := dict -}}
{{- range $part, $amounts := . -}}
{{- $texts := dict -}}
{{- range $name, $amount := $amounts -}}
{{- $_ := set $texts $name (toString $amount) -}}
{{- end -}}
{{- $_ := set $resources $part $texts -}}
{{- end -}}
{{ toJson $resources }}
{{- end -}}

{{- /* A process that waits for another is alive: that it is not ready yet is no reason to end it. */ -}}
{{- define "millrace.probes" -}}
startupProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /health/ready, port: http}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 10
{{- end -}}

{{- define "millrace.securityContext" -}}
allowPrivilegeEscalation: false
runAsNonRoot: true
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "millrace.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
