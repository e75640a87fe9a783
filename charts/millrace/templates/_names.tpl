{{- /* The image of a process: (list . "gateway"). */ -}}
{{- define "millrace.image" -}}
{{- $root := first . -}}
{{ $root.Values.image.repository }}/{{ last . }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{- define "millrace.labels" -}}
app.kubernetes.io/part-of: millrace
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "millrace.storeSecret" -}}
{{- if .Values.store.existingSecret -}}
{{ .Values.store.existingSecret }}
{{- else -}}
millrace-store
{{- end -}}
{{- end -}}

{{- define "millrace.probes" -}}
startupProbe:
  httpGet: {path: /health/ready, port: http}
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
