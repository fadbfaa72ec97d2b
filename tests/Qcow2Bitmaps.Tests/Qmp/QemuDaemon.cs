using System.Diagnostics;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>A running qemu-storage-daemon: what our replies are compared with.</summary>
internal sealed class QemuDaemon : IDisposable
{
    private readonly Process _process;

    private QemuDaemon(Process process)
    {
        _process = process;
        Peer = new QmpPeer(process.StandardInput.BaseStream, process.StandardOutput.BaseStream);
    }

    public QmpPeer Peer { get; }

    /// <summary>Starts it with qcow2 images as nodes.</summary>
    public static QemuDaemon Start(IEnumerable<(string Node, string Path, bool IsReadOnly)> images, string? workingFolder = null)
    {
        IEnumerable<string> nodes = images.SelectMany(static image => new[]
        {
            "--blockdev",
            $"driver=qcow2,node-name={image.Node},read-only={(image.IsReadOnly ? "on" : "off")},file.driver=file,file.filename="
            + $"{image.Path}",
        });
        return new QemuDaemon(
            Qemu.Start("qemu-storage-daemon", workingFolder, [.. nodes, "--chardev", "stdio,id=monitor", "--monitor", "monitor"]));
    }

    /// <summary>Lets it quit, and waits until the images are closed.</summary>
    public async Task QuitAsync()
    {
        await Peer.OkAsync("""{"execute":"quit"}""");
        await _process.WaitForExitAsync();
        Assert.Equal(0, _process.ExitCode);
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        Peer.Dispose();
        _process.Dispose();
    }
}
