namespace Qcow2Bitmaps.Tests.Support;

/// <summary>How a program ended and what it printed.</summary>
internal sealed record ProcessResult(int ExitCode, byte[] OutputBytes, string Error)
{
    public string Output => System.Text.Encoding.UTF8.GetString(OutputBytes);
}
