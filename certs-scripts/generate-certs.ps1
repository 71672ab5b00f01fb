<#
.SYNOPSIS
Makes the certificates of a mesh: the authority and one certificate for each service.

.DESCRIPTION
Makes an authority where there is none yet, and a certificate for each service and for mesh-client. The work is done by
"outrider certs init"; needs Node 24 or later and no openssl command.

.PARAMETER OutputDir
Folder of the certificates; also called -CertDir. An authority that is there is kept and used.

.PARAMETER ValidDays
How long the certificates of services are valid. The authority is valid for ten years.

.PARAMETER Services
Names of the services.

.EXAMPLE
.\generate-certs.ps1 -OutputDir .\certs -ValidDays 365

.EXAMPLE
.\generate-certs.ps1 -CertDir .\certs -Services auth-svc, billing-svc
#>
[CmdletBinding()]
param(
    [Parameter(Position = 0)]
    [Alias('CertDir')]
    [string]$OutputDir = './certs',

    [ValidateRange(1, 36500)]
    [int]$ValidDays = 365,

    [Parameter(ValueFromRemainingArguments = $true)]
    [string[]]$Services = @()
)

$ErrorActionPreference = 'Stop'

$root = Split-Path -Parent $PSScriptRoot
# A checkout runs from its sources, so that nothing has to be built by a shell that Windows lacks; a package brings dist.
$main = Join-Path (Join-Path $root 'src') 'main.ts'
if (-not (Test-Path -LiteralPath $main)) {
    $main = Join-Path (Join-Path $root 'dist') 'main.js'
}
$found = Get-Command node -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
$pinned = Join-Path (Join-Path (Join-Path (Join-Path $root 'node_modules') 'node') 'bin') 'node'
if (Test-Path -LiteralPath "$pinned.exe") {
    $node = "$pinned.exe"
}
elseif (Test-Path -LiteralPath $pinned) {
    $node = $pinned
}
elseif ($found) {
    $node = $found.Source
}
else {
    [Console]::Error.WriteLine('outrider: needs Node 24 or later, found none; install Node, or run "npm ci" in a checkout (it brings the right one).')
    exit 2
}

$version = "$(& $node --version)"
if ([int](($version -replace '^v', '') -split '\.')[0] -lt 24) {
    [Console]::Error.WriteLine("outrider: needs Node 24 or later, found $version ($node); install it, or run `"npm ci`" in a checkout (it brings the right one).")
    exit 2
}

if ((Test-Path -LiteralPath (Join-Path $root 'src')) -and -not (Test-Path -LiteralPath (Join-Path $root 'node_modules'))) {
    [Console]::Error.WriteLine('outrider: its dependencies are missing; run "npm ci" first.')
    exit 2
}

# "powershell -File" hands a list over as one word with commas in it.
$names = @($Services | ForEach-Object { $_ -split ',' } | ForEach-Object { $_.Trim() } | Where-Object { $_ })
$arguments = @($main, 'certs', 'init', '--output-dir', $OutputDir, '--valid-days', "$ValidDays") + $names
# Windows PowerShell takes a line on stderr for an error where output is redirected; the exit code is what counts.
$ErrorActionPreference = 'Continue'
& $node @arguments
exit $LASTEXITCODE
