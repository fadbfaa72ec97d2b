using System.Diagnostics;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A qemu-io that holds an image open until it is disposed.</summary>
internal sealed class QemuIoHolder : IAsyncDisposable
{
    private readonly Process _process;

    private QemuIoHolder(Process process) => _process = process;

    /// <summary>Opens an image; returns when it is open.</summary>
    public static async Task<QemuIoHolder> StartAsync(string image, params string[] options)
    {
        Process process = Qemu.Start("qemu-io", null, ["-f", "qcow2", .. options, image]);
        // The answer shows that the image is open.
        await process.StandardInput.WriteLineAsync("length");
        await process.StandardInput.FlushAsync();
        string? answer = await process.StandardOutput.ReadLineAsync();
        if (answer is null)
        {
            string error = await process.StandardError.ReadToEndAsync();
            process.Dispose();
            throw new InvalidOperationException($"qemu-io did not open {image}: {error}");
        }

        return new QemuIoHolder(process);
    }

    public async ValueTask DisposeAsync()
    {
        await _process.StandardInput.WriteLineAsync("quit");
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}
